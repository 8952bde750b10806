"""Providing: making the defaults, once, and moving the sources that are still as they were made to other upstreams.

What was made is remembered by name, with how a source was made. So one that was deleted is not made again, and one
that was edited is known and stays with the upstream that it has: half of one definition and half of another would be
none. Only the address of the demo upstream is followed by an edited source, too, unless it was the address that was
edited.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.db import transaction

from hotdata.defaults.jobs import JOBS, DefaultJob
from hotdata.defaults.sources import DEMO, UPSTREAMS, DefaultSource
from hotdata.models import Job, Key, Provided, Source
from hotdata.models.runs import Cause


@dataclass(frozen=True, kw_only=True)
class Provision:
    """What became of one default.

    ``made``; ``moved`` to another upstream or address, which is ``base_url``; ``edited``, for which reason it was not
    moved; ``asked`` to run, since something was moved; or ``kept`` as it was.
    """

    kind: str
    name: str
    outcome: str
    base_url: str = ""


def provide(upstream: str | None = None) -> Iterator[Provision]:
    """Make each default that was never made before, and move the sources to `upstream`, a name of `UPSTREAMS`.

    None is the one that each source was made for or moved to last, and the demo for a new one. Each default is seen
    to in a transaction of its own. Raises ValidationError.
    """
    moved = False
    for default in UPSTREAMS[DEMO]():
        provision = _provide_source(default.name, upstream)
        moved = moved or provision.outcome == "moved"
        yield provision
    for job in JOBS:
        yield _provide_job(job, something_moved=moved)


@transaction.atomic
def _provide_source(name: str, upstream: str | None) -> Provision:
    provided, new = Provided.objects.select_for_update().get_or_create(
        kind="source", name=name, defaults={"upstream": upstream or DEMO}
    )
    upstream = upstream or provided.upstream
    default = next(default for default in UPSTREAMS[upstream]() if default.name == name)
    source = Source.objects.filter(name=name).first()
    if new and source is None:
        outcome, source = "made", Source(name=name)
        _define(source, default)
        provided.remember(source, upstream)
    elif source is None or not provided.base_url:
        outcome = "kept"  # deleted since, or never made here
    elif provided.upstream != upstream:
        outcome = "moved" if provided.is_as_made(source) else "edited"
        if outcome == "moved":
            _define(source, default)
            provided.remember(source, upstream)
    elif source.base_url == provided.base_url != default.base_url:
        outcome, source.base_url = "moved", default.base_url
        source.full_clean()
        source.save()
        provided.follow(source)
    else:
        outcome = "kept"
    return Provision(
        kind="source", name=name, outcome=outcome, base_url="" if source is None else source.base_url
    )


def _define(source: Source, default: DefaultSource) -> None:
    """Make all of `source` but its name what `default` says, and save it. Raises ValidationError."""
    source.define(base_url=default.base_url, **default.fields)
    source.full_clean()
    source.save()
    source.pinned.all().delete()
    Key.objects.bulk_create(
        Key(source=source, key=key, placeholders=texts) for key, texts in default.pinned.items()
    )


@transaction.atomic
def _provide_job(default: DefaultJob, *, something_moved: bool) -> Provision:
    _, new = Provided.objects.get_or_create(kind="job", name=default.name)
    job = Job.objects.filter(name=default.name).first()
    outcome = "kept"
    if new and job is None:
        outcome = "made"
        job = Job(name=default.name, **default.fields)
        job.full_clean()
        job.save()
    elif something_moved and default.run_at_once and job is not None and _runs_as_made(job, default):
        outcome = "asked"
    if job is not None and outcome != "kept" and default.run_at_once:
        job.request_run(Cause.CLI, by="setup_hotdata")
    return Provision(kind="job", name=default.name, outcome=outcome)


def _runs_as_made(job: Job, default: DefaultJob) -> bool:
    """Whether `job` still does what `default` says, whenever it does."""
    same = job.task == default.fields["task"] and job.params == default.fields.get("params", {})
    return same and not job.paused
