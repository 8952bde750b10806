"""A clean-up: what is to be deleted of which kinds, done or only counted, and the account of it.

First jobs are thinned out to their run limits, then each kind loses what is older than its age. One clean-up is at
work at a time, whoever started it. It can be cut off at any point and called again.
"""

from __future__ import annotations

import functools
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q, QuerySet

from hotdata.conf import check_days, conf
from hotdata.exceptions import HotdataError
from hotdata.logs import EventLogger
from hotdata.models.cleaning import Cleaning
from hotdata.retention.kinds import BY_NAME, KINDS, NEVER, RUNS, Kind
from hotdata.retention.pace import Pace
from hotdata.retention.sweep import sweep
from hotdata.retention.thinning import limits

logger = EventLogger(__name__)

NOTABLE = "are notable, of jobs with a run limit"
TTL = timedelta(seconds=30)  # that a clean-up that was killed keeps others from beginning
RENEWAL = 5.0  # seconds
EXACTLY = 10_000  # rows that are counted one by one for the progress bar


class CleaningAlready(HotdataError):
    """Another clean-up is at work."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """What a clean-up is to do with one kind."""

    kind: Kind
    days: int | None
    """The age at which its records go; None: never."""


@dataclass(kw_only=True)
class Account:
    """What became of one kind, or would."""

    kind: str
    days: int | None
    """The age at which its records go; None where they never do."""
    deleted: int = 0
    kept: dict[str, int] = field(default_factory=dict)
    """How many records are kept although they are that old, by the reason."""
    finished: bool = True
    """Whether it was not cut off, or not even begun."""

    def to_json(self) -> dict[str, Any]:
        return {
            "days": self.days,
            "deleted": self.deleted,
            "kept": self.kept,
            **({} if self.finished else {"finished": False}),
        }


def shares(kinds: Sequence[str] = (), days: int | None = None) -> list[Share]:
    """What a clean-up of `kinds`, or of all, is to do: by the settings, or with `days` in their place.

    Without `kinds`, `days` are for those that have an age and are not spared from that. Raises ValueError.
    """
    if unknown := sorted(set(kinds) - set(BY_NAME)):
        raise ValueError(f"There is no kind {', '.join(unknown)}. Kinds: {', '.join(BY_NAME)}.")
    found = []
    for kind in KINDS:
        if kinds and kind.name not in kinds:
            continue
        its_days: int | None = getattr(conf().retention, kind.name)
        if days is not None and (kinds or (its_days is not None and not kind.by_name_only)):
            its_days = days
            try:
                check_days(kind.name, days)
            except ValueError as error:
                raise ValueError(f"days: {error}.") from error
        found.append(Share(kind=kind, days=its_days))
    return found


@dataclass(frozen=True, kw_only=True)
class _Step:
    """Rows that go, in the order of a column."""

    kind: str
    rows: Callable[[], QuerySet[Any]]
    by: str


class CleanUp:
    """One clean-up. `progress` is told the rows deleted and about how many there are; it may raise to stop."""

    def __init__(
        self,
        shares: Sequence[Share],
        now: datetime,
        *,
        progress: Callable[[int, int], None] = lambda done, total: None,
        pace: Pace | None = None,
    ) -> None:
        self.shares = shares
        self.pace = pace or Pace()
        self.accounts = {
            share.kind.name: Account(kind=share.kind.name, days=share.days, finished=False)
            for share in shares
        }
        self._until = {
            share.kind.name: now - timedelta(days=share.days) for share in shares if share.days is not None
        }
        self._limits = limits() if "runs" in self.accounts else []
        self._progress = progress
        self._total = 0
        self._holder = f"{socket.gethostname()[:60]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._renewed = 0.0

    # Deleting

    def run(self) -> list[Account]:
        """Delete. Raises CleaningAlready, and what `progress` raises; `accounts` then tells what was done."""
        with self._alone():
            steps = list(self._steps())
            self._total = sum(_about(step.rows(), step.by) for step in steps)
            for step in steps:
                self._delete(step)
            return self._finish()

    def _delete(self, step: _Step) -> None:
        rows = sweep(
            step.rows(), by=step.by, pace=self.pace, deleted=lambda count: self._note(step.kind, count)
        )
        if rows:
            longest = self.pace.longest
            logger.info("retention.deleted", kind=step.kind, by=step.by, rows=rows, longest=longest)

    def _steps(self) -> Iterator[_Step]:
        for limit in self._limits:
            yield _Step(kind="runs", rows=limit.surplus, by="id")
        for share in self.shares:
            until = self._until.get(share.kind.name)
            if until is not None:
                for table in share.kind.tables:
                    yield _Step(kind=share.kind.name, rows=functools.partial(table.old, until), by=table.age)

    def _note(self, kind: str, rows: int) -> None:
        self.accounts[kind].deleted += rows
        if time.monotonic() - self._renewed > RENEWAL:
            self._renewed = time.monotonic()
            if not Cleaning.go_on(self._holder, TTL):
                raise CleaningAlready("Another clean-up has begun, since this one was not heard of.")
        done = sum(account.deleted for account in self.accounts.values())
        self._progress(done, max(done, self._total))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not Cleaning.begin(self._holder, TTL):
            other = Cleaning.current()
            who = (
                f": {other.holder.rpartition(':')[0]}, since {other.since:%Y-%m-%d %H:%M:%S} UTC"
                if other
                else ""
            )
            raise CleaningAlready(f"Another clean-up is at work{who}. This one has deleted nothing.")
        self._renewed = time.monotonic()
        try:
            yield
        finally:
            Cleaning.end(self._holder)

    # Counting

    def count(self) -> list[Account]:
        """What `run` would delete and keep."""
        for share in self.shares:
            account, until = self.accounts[share.kind.name], self._until.get(share.kind.name)
            if until is not None:
                account.deleted = sum(table.old(until).count() for table in share.kind.tables)
        for limit in self._limits:
            surplus, until = limit.surplus().order_by(), self._until.get("runs")
            if until is not None:  # the older ones are counted
                surplus = surplus.exclude(RUNS.before(until))
            self.accounts["runs"].deleted += surplus.count()
        return self._finish()

    def _finish(self) -> list[Account]:
        """Add what is kept, and why."""
        for share in self.shares:
            account, until = self.accounts[share.kind.name], self._until.get(share.kind.name)
            if until is not None:
                for table in share.kind.tables:
                    account.kept |= table.spared(until)
            account.finished = True
        until = self._until.get("runs")
        still_young = Q() if until is None else ~RUNS.before(until)
        if notable := sum(limit.spared().filter(still_young).count() for limit in self._limits):
            self.accounts["runs"].kept[NOTABLE] = notable
        return list(self.accounts.values())


def untouched() -> list[Account]:
    """What no clean-up deletes."""
    return [Account(kind=other.name, days=None, kept={other.why: other.count()}) for other in NEVER]


def _about(rows: QuerySet[Any], by: str) -> int:
    """About how many `rows` there are, by a look at no more than `EXACTLY` of them."""
    few = rows.order_by()[: EXACTLY + 1].count()
    if few <= EXACTLY:
        return few
    # Rows come with rising numbers, and grow old in that order: nearly all between these two are theirs.
    first = rows.order_by(by, "pk").values_list("pk", flat=True).first()
    last = rows.order_by(f"-{by}", "-pk").values_list("pk", flat=True).first()
    return few if first is None or last is None else max(few, last - first + 1)
