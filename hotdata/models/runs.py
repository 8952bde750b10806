"""Runs: the record of every execution, and of every due time that led to none.

A run refers to its job by name, without a database constraint: it outlives the job, and a job that is made
again under its name finds its history. Each change of state is one conditional update whose count is checked.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ObjectDoesNotExist
from django.db import connections, models, transaction
from django.db.models import Count, Exists, Min, OuterRef, Q, Window
from django.db.models.expressions import RawSQL
from django.db.models.functions import RowNumber
from django.db.models.lookups import In
from django.utils.translation import gettext_lazy as _

from hotdata.models import bulk, endings
from hotdata.models.changes import ChangeCounter

if TYPE_CHECKING:
    from hotdata.models.jobs import Job


class State(models.TextChoices):
    """``queued → running → succeeded | failed | timed_out | cancelled`` and ``running → retrying → running``.

    ``missed`` and ``skipped`` never started; ``abandoned`` was running when its node died.
    """

    QUEUED = "queued", _("Queued")
    RUNNING = "running", _("Running")
    RETRYING = "retrying", _("Waiting to retry")
    SUCCEEDED = "succeeded", _("Succeeded")
    FAILED = "failed", _("Failed")
    TIMED_OUT = "timed_out", _("Timed out")
    CANCELLED = "cancelled", _("Cancelled")
    MISSED = "missed", _("Missed")
    SKIPPED = "skipped", _("Skipped")
    ABANDONED = "abandoned", _("Abandoned")


class Cause(models.TextChoices):
    """Why a run was made."""

    SCHEDULE = "schedule", _("Schedule")
    MANUAL = "manual", _("Run now")
    API = "api", _("API")
    CLI = "cli", _("Command line")
    RECOVERY = "recovery", _("Recovery")


WAITING = (State.QUEUED, State.RETRYING)
ACTIVE = (State.QUEUED, State.RUNNING, State.RETRYING)
FINISHED = tuple(state for state in State if state not in ACTIVE)
FAILURES = (State.FAILED, State.TIMED_OUT, State.ABANDONED)
NEVER_STARTED = (State.MISSED, State.SKIPPED)
UNSUCCESSFUL = tuple(state for state in FINISHED if state != State.SUCCEEDED)
UNSCHEDULED = tuple(cause for cause in Cause if cause != Cause.SCHEDULE)
KNOWN = frozenset(State)
ENDING = ("job", "params", "state", "attempt", "duration", "reason", "coalesced", "error")
"""What is said of a run when it ends."""

BY_SCHEDULE = "schedule"
"""In whose name a later due time cancels a run."""
OVERTAKEN = "A later due time took its place."
"""Why due times came to nothing that might have had a run."""


class StateField(models.CharField):
    """A column for a `State`. For migrations it is the `CharField` that it is to the database."""

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs


@StateField.register_lookup
class _OneOf(In):
    """``state__in``, with its values in the text of the statement where the database is SQLite.

    SQLite takes an index with a condition only for a statement with the very same one, and doesn't look at parameters.
    Without that, each look for waiting runs reads the whole table: 0.9 s with a million runs.
    """

    def as_sqlite(self, compiler: Any, connection: Any) -> Any:
        if not self.rhs_is_direct_value() or not self.rhs or not set(self.rhs) <= KNOWN:
            return self.as_sql(compiler, connection)
        column, params = self.process_lhs(compiler, connection)
        values = ", ".join(f"'{State(state).value}'" for state in self.rhs)
        return f"{column} IN ({values})", params


LATEST_OF_EACH = {
    "postgresql": """
        SELECT run.id FROM unnest(%s::text[]) AS wanted(name) CROSS JOIN LATERAL (
            SELECT id FROM hotdata_run WHERE job_name = wanted.name ORDER BY id DESC LIMIT %s
        ) AS run
    """,
    "sqlite": """
        SELECT run.id FROM json_each(%s) AS wanted JOIN hotdata_run AS run ON run.id IN (
            SELECT id FROM hotdata_run WHERE job_name = wanted.value ORDER BY id DESC LIMIT %s
        )
    """,
}
"""The ids of the latest runs of each of some jobs: a list of names, or JSON with one, and how many of each."""


class RunQuerySet(models.QuerySet["Run"]):
    def of_job(self, name: str) -> RunQuerySet:
        return self.filter(job_id=name)

    def latest_of_each(self, jobs: Collection[str], count: int) -> RunQuerySet:
        """The `count` latest runs of each of `jobs`, newest first: a few steps in an index for each.

        One statement. A window over all runs would number a million of them to give a few thousand back.
        """
        connection = connections[self.db]
        if connection.vendor not in LATEST_OF_EACH:
            number = Window(RowNumber(), partition_by="job_id", order_by="-id")
            return (
                self.filter(job_id__in=jobs).annotate(number=number).filter(number__lte=count).order_by("-id")
            )
        names = list(jobs) if connection.vendor == "postgresql" else json.dumps(list(jobs))
        ids = RawSQL(LATEST_OF_EACH[connection.vendor], (names, count))  # noqa: S611 - values travel as parameters
        return self.filter(id__in=ids).order_by("-id")

    def active(self) -> RunQuerySet:
        """Runs that have not come to an end."""
        return self.filter(state__in=ACTIVE)

    def finished(self) -> RunQuerySet:
        return self.filter(state__in=FINISHED)

    def ready(self, now: datetime) -> RunQuerySet:
        """Runs that wait for a node to take them and whose time has come, oldest first.

        For a queued one that is at once: whoever asked for it may have a clock that is ahead of the leader's.
        """
        due = Q(state=State.QUEUED) | Q(ready_at__lte=now)
        return self.untaken().filter(due).order_by("ready_at", "id")

    def untaken(self) -> RunQuerySet:
        """Runs that wait for their time and for a node to take them; not those that are held."""
        return self.filter(state__in=WAITING, node="", held=False)

    def supersede(self, jobs: Collection[str], now: datetime) -> None:
        """Cancel what has not ended of each of `jobs`, because later due times take its place.

        What was never started is `accounts.overtake`'s.
        """
        active = self.filter(job_id__in=jobs).active()
        active.filter(state__in=WAITING).give_up(OVERTAKEN, now)
        asked = active.filter(state=State.RUNNING, cancel_requested_by="").update(
            cancel_requested_by=BY_SCHEDULE
        )
        if asked:
            ChangeCounter.bump()

    def give_up(self, reason: str, now: datetime) -> None:
        """Cancel these runs, all of which wait. Part of the caller's transaction."""
        runs = list(self.select_for_update().only(*ENDING))
        if not runs:
            return
        given_up = self.model.objects.filter(id__in=[run.id for run in runs])
        given_up.update(state=State.CANCELLED, held=False, finished_at=now, reason=reason)
        for run in runs:
            run.state, run.reason = State.CANCELLED, reason
        endings.say_later(runs)

    def outlook(self) -> tuple[datetime | None, int]:
        """When the next run that waits for a node will be ready, and how many runs are held."""
        waiting = self.filter(state__in=WAITING, node="")
        looks = waiting.aggregate(
            at=Min("ready_at", filter=Q(held=False)), held=Count("id", filter=Q(held=True))
        )
        return looks["at"], looks["held"]

    def release_held(self, now: datetime) -> int:
        """Let the held runs go whose jobs have no other active run; return how many."""
        others = self.model.objects.filter(job=OuterRef("job"), state__in=ACTIVE, held=False)
        return self.filter(~Exists(others), held=True).update(held=False, ready_at=now)

    def take(self, node: str, now: datetime, limit: int) -> list[Run]:
        """Hand up to `limit` ready runs to `node`. Each is handed to one node only, whoever else asks."""
        with transaction.atomic():
            runs = list(
                # Rows that another transaction works on can wait for the next look.
                self.ready(now).select_for_update(skip_locked=True)[:limit]
            )
            self.filter(id__in=[run.id for run in runs]).update(node=node)
        for run in runs:
            run.node = node
        return runs

    def hand_back(self, node: str) -> int:
        """Return what `node` was handed and did not start; the leader takes it."""
        with transaction.atomic():
            handed_back = self.filter(state__in=WAITING, node=node).update(node="")
            if handed_back:
                ChangeCounter.bump()
        return handed_back

    def start(self, runs: Sequence[Run], node: str, now: datetime) -> list[Run]:
        """Begin an attempt of each of `runs`; return those that are `node`'s to work on.

        A run that was cancelled or taken by another node in between is not among them, nor one of which `runs` holds
        a stale copy, since an attempt has ended after it was read. This is the only way into ``running``, and the
        reason why an attempt starts at most once.
        """
        # One that was handed over twice, as after a commit whose answer was lost, is still started once.
        runs = list({run.id: run for run in runs}.values())
        for run in runs:
            # The same number again when a call that the database did not answer is repeated.
            run.state, run.started_at, run.attempt = State.RUNNING, now, len(run.attempts) + 1
        begun = [len(run.attempts) for run in runs]
        hit = bulk.update(
            runs, ["state", "started_at", "attempt"], each={"attempt": begun}, state=WAITING, node=[node]
        )
        return [run for run in runs if run.id in hit]

    def unstart(self, runs: Sequence[Run], node: str, now: datetime) -> None:
        """Take back the start of `runs` that `node` has not begun to work on: they wait for a node again.

        Those that were asked to stop meanwhile are cancelled: no node would hear of it any more.
        """
        for run in runs:
            run.state, run.node, run.started_at, run.attempt = State.QUEUED, "", None, len(run.attempts)
        with transaction.atomic():
            back = bulk.update(
                runs, ["state", "node", "started_at", "attempt"], state=[State.RUNNING], node=[node]
            )
            # Now that they are locked, nobody asks any more: a later cancellation finds them waiting, or ended.
            unwanted = self.filter(id__in=back).exclude(cancel_requested_by="")
            unwanted.give_up("Cancelled before its task was called.", now)
            ChangeCounter.bump()


class Run(models.Model):
    """One execution of a job, or the account of due times that led to none."""

    job = models.ForeignKey(
        "hotdata.Job",
        verbose_name=_("job"),
        to_field="name",
        db_column="job_name",
        related_name="runs",
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
    )
    task = models.CharField(_("task"), max_length=100)
    params = models.JSONField(_("parameters"), default=dict, blank=True)
    cause = models.CharField(_("cause"), max_length=20, choices=Cause)
    requested_by = models.CharField(_("requested by"), max_length=150, blank=True)
    state = StateField(_("state"), max_length=20, choices=State)
    reason = models.TextField(
        _("reason"), blank=True, help_text=_("Of what is missed, skipped, cancelled or abandoned.")
    )

    scheduled_for = models.DateTimeField(_("due"), null=True, blank=True)
    coalesced = models.PositiveIntegerField(
        _("coalesced"), default=0, help_text=_("Further due times that this record stands for.")
    )
    coalesced_since = models.DateTimeField(_("coalesced since"), null=True, blank=True)
    recovers = models.ForeignKey(
        "self",
        verbose_name=_("recovers"),
        null=True,
        blank=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="recoveries",
    )

    created_at = models.DateTimeField(_("created at"))
    ready_at = models.DateTimeField(_("ready at"), help_text=_("It waits until then."))
    held = models.BooleanField(
        _("held"), default=False, help_text=_("It waits until the other runs of its job have ended.")
    )
    started_at = models.DateTimeField(_("started at"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished at"), null=True, blank=True)
    duration = models.DurationField(
        _("duration"), null=True, blank=True, help_text=_("How long the last attempt worked.")
    )
    node = models.CharField(_("node"), max_length=100, blank=True)
    attempt = models.PositiveSmallIntegerField(_("attempt"), default=0, help_text=_("Attempts begun."))
    attempts = models.JSONField(_("attempts"), default=list, blank=True)
    cancel_requested_by = models.CharField(_("cancel requested by"), max_length=150, blank=True)

    progress_done = models.PositiveIntegerField(_("done"), default=0)
    progress_total = models.PositiveIntegerField(_("of"), null=True, blank=True)
    log = models.TextField(_("log"), blank=True)
    result = models.JSONField(_("result"), null=True, blank=True)
    error = models.TextField(_("error"), blank=True)
    traceback = models.TextField(_("traceback"), blank=True)
    notable = models.BooleanField(
        _("notable"),
        default=False,
        help_text=_("Kept when the other runs of a job with a run limit are thinned out."),
    )

    objects = RunQuerySet.as_manager()

    class Meta:
        verbose_name = _("run")
        verbose_name_plural = _("runs")
        ordering = ["-id"]
        permissions = [("cancel_run", _("Can cancel runs"))]
        constraints = [
            # A due time has one account, whoever writes it. Runs that no due time caused have none: NULLs
            # are distinct in a unique index on every database.
            models.UniqueConstraint(fields=["job", "scheduled_for"], name="run_one_account_per_due_time"),
            models.CheckConstraint(condition=Q(state__in=State.values), name="run_state_known"),
            models.CheckConstraint(condition=Q(cause__in=Cause.values), name="run_cause_known"),
            models.CheckConstraint(
                condition=Q(cause=Cause.SCHEDULE, scheduled_for__isnull=False)
                | (~Q(cause=Cause.SCHEDULE) & Q(scheduled_for__isnull=True)),
                name="run_scheduled_has_due_time",
            ),
            models.CheckConstraint(
                condition=Q(state__in=FINISHED, finished_at__isnull=False)
                | Q(state__in=ACTIVE, finished_at__isnull=True),
                name="run_finished_has_end",
            ),
            models.CheckConstraint(
                condition=~Q(state=State.RUNNING) | Q(started_at__isnull=False), name="run_running_has_start"
            ),
            models.CheckConstraint(
                condition=Q(held=False) | Q(state=State.QUEUED, node=""), name="run_held_waits"
            ),
        ]
        indexes = [
            models.Index(fields=["ready_at"], name="run_waiting", condition=Q(state__in=WAITING)),
            models.Index(fields=["job", "state"], name="run_active_of_job", condition=Q(state__in=ACTIVE)),
            models.Index(fields=["job"], name="run_held", condition=Q(held=True)),
            models.Index(fields=["job", "-id"], name="run_of_job_by_time"),
            models.Index(fields=["created_at"], name="run_by_age"),
            # For lists of what is rare: a run that succeeds, or was fired, never enters these.
            models.Index(
                fields=["-id", "state", "job"], name="run_unsuccessful", condition=Q(state__in=UNSUCCESSFUL)
            ),
            models.Index(fields=["-id", "cause"], name="run_unscheduled", condition=Q(cause__in=UNSCHEDULED)),
        ]

    def __str__(self) -> str:
        return f"{self.job_id} #{self.pk}"

    @property
    def definition(self) -> Job | None:
        """The job as it is defined now; None when it was deleted."""
        try:
            return self.job
        except ObjectDoesNotExist:
            return None

    @property
    def delay(self) -> timedelta | None:
        """How long after its due time (or its request) the run started."""
        if self.started_at is None:
            return None
        return self.started_at - (self.scheduled_for or self.created_at)

    def cancel(self, by: str, now: datetime) -> bool:
        """Cancel the run in the name of `by`; False when it has come to an end already.

        A waiting run is cancelled on the spot. A running one is asked to stop: it ends as ``cancelled`` when
        its task next looks at ``current_run()``, within about a second.
        """
        with transaction.atomic():
            # Locked, or it could be started between a look and a change, and be asked neither way.
            run = (
                Run.objects.select_for_update()
                .only("cancel_requested_by", *ENDING)
                .filter(id=self.id)
                .first()
            )
            if run is None:
                return False
            if run.state in WAITING:
                run.state, run.held, run.finished_at = State.CANCELLED, False, now
                run.reason = f"Cancelled by {by} before it started."
                endings.say_later([run])
            elif run.state == State.RUNNING and not run.cancel_requested_by:
                run.cancel_requested_by = by
            else:
                return False
            run.save(update_fields=["state", "held", "finished_at", "reason", "cancel_requested_by"])
            ChangeCounter.bump()
        return True
