"""Applying: makes the definitions what a document says. All or nothing, in one transaction.

It locks in the order that all keep: schedules by name, jobs, sources, and the change counter last, once
however many definitions there are. What needs no change is not saved: it keeps its phase, and gets no row of history.
What is saved is checked as a form would, and all that is wrong is told at once. The schedulers follow after the commit,
as they do any edit; the firing waits meanwhile for the jobs that are changed, and for no others.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction

from hotdata.definitions.documents import KEYS, Definition, Document
from hotdata.definitions.export import definition_of, is_over
from hotdata.definitions.plans import Plan, Step, Verb, make
from hotdata.definitions.reading import BadDocument, first_of
from hotdata.definitions.shapes import JOB, KEY, SOURCE, same
from hotdata.exceptions import BadTrigger, HotdataError
from hotdata.models import ChangeCounter, Job, Key, Schedule, Source
from hotdata.models.history import edited_by
from hotdata.text import printable

MAX_REASON = 100  # characters


class PlanHasChanged(HotdataError):
    """What would be done is not what was expected: something was edited since."""


def apply(
    document: Document,
    now: datetime,
    *,
    prune: bool = False,
    dry_run: bool = False,
    expect: str = "",
    by: str = "applydefs",
    reason: str = "",
) -> Plan:
    """Make the definitions what `document` says; what was done, or with `dry_run` would be.

    With `prune` what the document doesn't have is deleted. `expect` is the digest of the plan that was reviewed. The
    edits are on record in the name of `by`, with the `reason`. Raises BadDocument and PlanHasChanged, and has changed
    nothing then.
    """
    # What is locked is what would be changed; so that is found out first, and looked at again once it is.
    plan = _plan(document, now, prune=prune)
    if not plan.steps:
        _check(plan, expect)
        return plan
    try:
        with edited_by(by), transaction.atomic():
            _lock(plan)
            locked = _plan(document, now, prune=prune)
            if locked.digest != plan.digest:
                raise PlanHasChanged("Something was edited meanwhile. Nothing is applied; look at it again.")
            _check(plan, expect)
            _Work(document, now, reason[:MAX_REASON]).do(plan)
            ChangeCounter.bump()
            if dry_run:
                transaction.set_rollback(True)
    except IntegrityError as error:
        raise PlanHasChanged("Something was edited meanwhile. Nothing is applied; try again.") from error
    return plan


def _check(plan: Plan, expect: str) -> None:
    if expect and expect != plan.digest:
        raise PlanHasChanged(
            f"The plan is {plan.digest} and not {printable(expect)!r}: something was edited since that was looked at, "
            "here or in the file. Nothing is applied."
        )


def _plan(document: Document, now: datetime, *, prune: bool) -> Plan:
    jobs = list(Job.objects.order_by("name"))
    sources = Source.objects.order_by("name").prefetch_related("pinned")
    there = Document(
        sources={source.name: definition_of(source) for source in sources},
        jobs={job.name: definition_of(job) for job in jobs},
    )
    spared = frozenset(job.name for job in jobs if job.name not in document.jobs and is_over(job, now))
    return make(document, there, prune=prune, spared=spared)


def _lock(plan: Plan) -> None:
    """Lock the rows of all that is to be changed, in the order that all keep."""
    jobs = [step.name for step in plan.steps if step.section == "jobs"]
    sources = [step.name for step in plan.steps if step.section == "sources"]
    Schedule.objects.lock(*jobs)
    for rows, names in ((Job.objects, jobs), (Source.objects, sources)):
        list(rows.select_for_update().filter(name__in=names).order_by("name").values_list("name"))


class _Work:
    """The steps of one plan, inside its transaction."""

    def __init__(self, document: Document, now: datetime, reason: str) -> None:
        self._document = document
        self._now = now
        self._reason = reason
        self._problems: list[str] = []

    def do(self, plan: Plan) -> None:
        """Raises BadDocument with all that is wrong."""
        # Jobs name sources: those go after them, and come before.
        for step in self._steps(plan, "jobs", Verb.DELETE):
            for job in Job.objects.filter(name=step.name):
                self._because(job).delete_locked(self._now)
        for step in self._steps(plan, "sources", Verb.DELETE):
            for source in Source.objects.filter(name=step.name):
                self._because(source).delete()
        for step in self._steps(plan, "sources", Verb.CREATE, Verb.CHANGE):
            self._save_source(step)
        for step in self._steps(plan, "jobs", Verb.CREATE, Verb.CHANGE):
            self._save_job(step)
        if self._problems:
            raise BadDocument(first_of(self._problems))

    @staticmethod
    def _steps(plan: Plan, section: str, *verbs: Verb) -> Iterator[Step]:
        return (step for step in plan.steps if step.section == section and step.verb in verbs)

    def _save_source(self, step: Step) -> None:
        wanted = _wanted(step)
        source = Source.objects.filter(name=step.name).first() or Source(name=step.name)
        SOURCE.put(source, wanted.fields)
        if not self._is_good(source, f"sources.{step.name}"):
            return
        self._because(source).save_uncounted()
        pinned = {key.key: key for key in source.pinned.all()}
        for gone in step.unpinned:
            self._because(pinned[gone]).delete()
        new: list[Key] = []
        for name, fields in wanted.keys.items():
            key = pinned.get(name) or Key(source=source, key=name)
            if not key._state.adding and same(KEY.written(key), fields):
                continue
            KEY.put(key, fields)
            if not self._is_good(self._because(key), f"sources.{step.name}.{KEYS}.{name}"):
                continue
            if key._state.adding:
                new.append(key)
            else:
                key.save()
        Key.objects.bulk_create(new)

    def _save_job(self, step: Step) -> None:
        job = Job.objects.filter(name=step.name).first() or Job(name=step.name, created_at=self._now)
        JOB.put(job, _wanted(step).fields)
        if self._is_good(job, f"jobs.{step.name}"):
            try:
                self._because(job).save_locked(self._now)
            except BadTrigger as error:
                self._note(f"jobs.{step.name}.{error.field}", str(error))

    def _is_good(self, row: models.Model, path: str) -> bool:
        """Whether the model accepts it; what it has against it is noted."""
        try:
            if isinstance(row, Key):
                # A source may have thousands. Which there are was compared, and its row is locked.
                row.clean_fields(exclude=["source"])
                row.clean()
            else:
                row.full_clean()
        except ValidationError as error:
            for field, messages in error.message_dict.items():
                for message in messages:
                    self._note(path if field == "__all__" else f"{path}.{field}", message)
            return False
        return True

    def _note(self, path: str, message: str) -> None:
        line = self._document.line_of(path)
        self._problems.append(f"line {line}: {printable(path)}: {printable(message)}")

    def _because(self, row: Any) -> Any:
        """`row`, whose next edit is on record with the reason."""
        row._change_reason = self._reason or None
        return row


def _wanted(step: Step) -> Definition:
    assert step.wanted is not None
    return step.wanted
