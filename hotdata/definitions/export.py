"""Export: definitions as the text of a file. The same definitions give the same text, byte for byte.

Of each, what differs from the defaults. Everything stands in the order of its name, fields in that of the model.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import msgspec
import yaml

from hotdata.definitions.documents import KEYS, VERSION, Definition, Document
from hotdata.definitions.shapes import JOB, KEY, SOURCE
from hotdata.exceptions import BadTrigger, HotdataError
from hotdata.models import Job, Source
from hotdata.text import holds_secret

WIDTH = 100  # characters


class CantExport(HotdataError):
    """A definition can't be written to a file."""

    permanent = True


def definition_of(row: Job | Source) -> Definition:
    """A job, or a source with its pinned keys, by all fields."""
    if isinstance(row, Job):
        return Definition(name=row.name, fields=JOB.written(row))
    keys = {pinned.key: KEY.written(pinned) for pinned in row.pinned.all()}
    return Definition(name=row.name, fields=SOURCE.written(row), keys=keys)


def document(
    *, jobs: Collection[str] | None = None, sources: Collection[str] | None = None, now: datetime
) -> tuple[Document, list[str]]:
    """What is defined now; and the names of jobs that are left out, since they have run their course.

    Of jobs and sources all, or the named ones. Raises CantExport for a name that isn't there.
    """
    job_rows, over = _rows(Job, jobs), []
    if jobs is None:
        over = [job.name for job in job_rows if is_over(job, now)]
    return (
        Document(
            sources={row.name: definition_of(row) for row in _rows(Source, sources)},
            jobs={row.name: definition_of(row) for row in job_rows if row.name not in over},
        ),
        over,
    )


def _rows(model: type[Job] | type[Source], names: Collection[str] | None) -> list[Any]:
    rows: Any = model._default_manager.order_by("name")
    if model is Source:
        rows = rows.prefetch_related("pinned")
    if names is None:
        return list(rows)
    found = list(rows.filter(name__in=names))
    if missing := sorted(set(names) - {row.name for row in found}):
        raise CantExport(f"There is no {model._meta.model_name} {', '.join(map(repr, missing))}.")
    return found


def is_over(job: Job, now: datetime) -> bool:
    """Whether the job will never be due again, paused or not: such as a one-off that has run."""
    try:
        return (
            msgspec.structs.replace(job.timetable(), paused=False, paused_until=None).next_fire(now) is None
        )
    except BadTrigger:
        return False


def text_of(document: Document) -> str:
    """The file that says `document`. Raises CantExport for a definition that holds the secret of an upstream."""
    content: dict[str, Any] = {"version": VERSION}
    if document.sources:
        content["sources"] = {name: _source(document.sources[name]) for name in sorted(document.sources)}
    if document.jobs:
        content["jobs"] = {name: JOB.essential(document.jobs[name].fields) for name in sorted(document.jobs)}
    for section in ("sources", "jobs"):
        for name, definition in content.get(section, {}).items():
            if holds_secret(_dumped(definition)):
                raise CantExport(
                    f"{section}.{name} holds the value of a secret, which must not be in a file. Use secret_headers "
                    "or secret_query, which name environment variables."
                )
    return _dumped(content)


def _source(definition: Definition) -> dict[str, Any]:
    written = SOURCE.essential(definition.fields)
    if definition.keys:
        written[KEYS] = {key: KEY.essential(definition.keys[key]) for key in sorted(definition.keys)}
    return written


class _Dumper(yaml.SafeDumper):
    """As the safe one, but without anchors for what is there twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # What isn't printed needs escapes, and only double quotes have them: PyYAML loses U+0085 in any others.
    style = None if text.replace("\n", "").isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _dumped(content: Any) -> str:
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH)
