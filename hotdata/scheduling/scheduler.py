"""The scheduler: one node's main loop. Leads or stands by; when it leads, it fires what is due.

One turn of the loop: keep the lease; if leading, look whether anything changed or is due, claim it, hand the
runs to the executor, and do a little of what has time; then sleep until the next due time, the next look, or a
wake-up. The first turn puts the node on record. An error ends a turn, never the loop: it is logged once per
kind, and the node steps down until the database answers again.

A leader with nothing to do sends one statement a second: the renewal of the lease brings the change counter.
A standby sends one, too, and sleeps no longer than the lease has still to run.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from apscheduler.schedulers.blocking import BlockingScheduler
from django.db import Error as AnyDatabaseError
from django.db import close_old_connections
from django.utils import timezone

from hotdata.conf import conf
from hotdata.exceptions import LostLease
from hotdata.logs import EventLogger
from hotdata.models import ChangeCounter, Run
from hotdata.scheduling.jobstore import JobStore
from hotdata.scheduling.lease import LeaseKeeper
from hotdata.scheduling.presence import BEATS_PER_TIMEOUT, Presence
from hotdata.scheduling.recovery import settle, silent_nodes, tidy_nodes
from hotdata.scheduling.waiting import WaitingRuns
from hotdata.scheduling.waker import Waker

logger = EventLogger(__name__)

RENEWALS_PER_TTL = 4
STANDBY_LOOK = 0.4  # seconds after which a standby sees, without a bell, that the lease was given up
STANDBY_LOOK_WITH_BELL = 1.0  # seconds
AFTER_EXPIRY = 0.005  # seconds
RECONCILE_INTERVAL = 30.0  # seconds
TIDY_INTERVAL = 3600.0  # seconds
HEARD_AGAIN = 1.25  # heartbeats between the two looks that find a node silent before it is taken for dead
BACKOFF_FIRST = 0.1  # seconds
BACKOFF_LONGEST = 1.0  # seconds
LOCKED_PAUSE = timedelta(milliseconds=50)


class Executor(Protocol):
    """What the scheduler hands runs to."""

    def submit(self, runs: Sequence[Run]) -> None:
        """Take over `runs`, on record as queued for this node. Returns at once."""


class Scheduler(BlockingScheduler):  # type: ignore[misc]  # APScheduler has no types
    """Fires jobs until `stop` is called.

    `clock` gives the present as an aware datetime; only due times are judged by it, never the lease. `hears`
    tells whether somebody is listening who calls `wakeup` as soon as anything changes.
    """

    def __init__(
        self,
        *,
        presence: Presence,
        executor: Executor,
        clock: Callable[[], datetime] = timezone.now,
        hears: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(timezone=UTC)
        self._presence = presence
        self._executor = executor
        self._clock = clock
        self._hears = hears
        self._waker = Waker()
        self._stopping = False
        self._lease = LeaseKeeper(node=presence.name, ttl=conf().lease_ttl)
        self._store = JobStore(node=presence.name, lease=self._lease)
        self._waiting = WaitingRuns(node=presence.name, submit=executor.submit)
        self._led: int | None = None  # the epoch that was shown
        self._keep_at = self._settle_at = self._tidy_at = self._reconcile_at = 0.0  # monotonic
        self._silent: set[str] = set()
        self._seen_change = -1
        self._changed = False
        self._woken = True
        self._next_due: datetime | None = None
        self._failures = 0
        self._kinds_of_failure: set[str] = set()
        self.add_jobstore(self._store, "default")

    def stop(self) -> None:
        """End the loop after the turn it is in. Safe in a signal handler and from any thread."""
        self._stopping = True
        self._waker.wake()

    def wakeup(self) -> None:
        """Have it look at once whether something changed. Safe from any thread; none is lost, whatever it is doing."""
        self._waker.wake()

    def _main_loop(self) -> None:
        try:
            with self._waker.woken_by_signals():
                while not self._stopping:
                    if self._waker.sleep(self._process_jobs()):
                        self._woken = True
                        if not self._lease.leading:
                            self._keep_at = 0.0
        finally:
            self._step_down()
            self._waker.close()

    def _process_jobs(self) -> float:
        """One turn; returns the seconds to sleep before the next."""
        try:
            pause = self._turn()
            if self._failures:
                logger.warning("scheduler.recovered", failures=self._failures)
            self._failures = 0
            self._kinds_of_failure.clear()
        except LostLease:
            logger.warning("scheduler.deposed", node=self._presence.name)
            self._forget_what_was_seen()
            pause = 0.0
        except Exception as error:  # noqa: BLE001 - one turn of the loop: whatever it is, the loop goes on
            pause = self._survive(error)
        return pause

    def _turn(self) -> float:
        self._presence.announce()
        self._keep_lease()
        if self._failures:
            # A commit may have succeeded although its answer was lost: then runs are on record as handed to
            # this node, and nobody works on them. What the executor does know is harmless to hand in again.
            Run.objects.hand_back(self._presence.name)
        if self._lease.leading:
            self._succeed()
            if self._something_is_up():
                self._fire()
            self._look_after_dead_nodes()
            self._reconcile()
        return self._time_to_sleep()

    # Leading

    def _keep_lease(self) -> None:
        """Renew or seek the lease when it is time to, and show it when that changed who leads."""
        now = time.monotonic()
        lapsed = self._led is not None and not self._lease.leading
        if now >= self._keep_at or lapsed:
            self._lease.keep()
            self._keep_at = now + self._time_to_next_look()
            if self._lease.change is not None:
                self._note(self._lease.change)
        led, self._led = self._led, self._lease.epoch if self._lease.leading else None
        if self._led == led and not lapsed:
            return
        if self._led is not None:
            logger.info("scheduler.leading", node=self._presence.name, epoch=self._led)
            self._silent.clear()
            self._settle_at = self._reconcile_at = 0.0
            self._store.reconciler.forget()
            self._forget_what_was_seen()
        else:
            logger.info("scheduler.standing_by", node=self._presence.name)
        self._presence.lead(self._led is not None)

    def _time_to_next_look(self) -> float:
        """Seconds until the lease has to be renewed, or looked at by a node that stands by."""
        if self._lease.leading:
            renewal = conf().lease_ttl.total_seconds() / RENEWALS_PER_TTL
            return min(renewal, conf().poll_interval.total_seconds())
        longest = STANDBY_LOOK_WITH_BELL if self._hears() else STANDBY_LOOK
        return min(longest, max(0.0, self._lease.free_in) + AFTER_EXPIRY)

    def _step_down(self) -> None:
        """Hand the lease over, if it is ours. What runs goes on, in the name of a node that leads no more."""
        try:
            self._lease.release()
            if self._led is not None:
                self._presence.lead(False)
        except AnyDatabaseError as error:
            logger.warning("scheduler.lease_not_released", error=error)
        self._led = None

    def _succeed(self) -> None:
        """Take back what the last leader was handed and has not started.

        There is no need to know that it died: a run that it starts after this is not its to start any more.
        """
        if self._lease.replaced:
            handed_back = Run.objects.hand_back(self._lease.replaced)
            logger.info("scheduler.succeeded", node=self._lease.replaced, handed_back=handed_back)
            self._lease.replaced = ""

    def _look_after_dead_nodes(self) -> None:
        """Settle what nodes left that were silent at the last look, too; the looks are a heartbeat and more apart.

        One look isn't enough. A database that was away, which is why this node leads only now, kept the heartbeats of
        the living away as well; and when the clock of the database is stepped, they all look old. By the second look
        the living are heard of again.
        """
        now = time.monotonic()
        if now < self._settle_at:
            return
        timeout, me = conf().node_timeout, self._presence.name
        self._settle_at = now + timeout.total_seconds() / 2
        silent = silent_nodes(timeout, me=me)
        dead, self._silent = silent & self._silent, silent
        if silent - dead:
            self._settle_at = now + HEARD_AGAIN * timeout.total_seconds() / BEATS_PER_TIMEOUT
        if dead:
            settled = settle(self._clock(), timeout, me=me, among=dead)
            if settled.handed_back or settled.abandoned:
                self._forget_what_was_seen()
        if now >= self._tidy_at:
            self._tidy_at = now + TIDY_INTERVAL
            tidy_nodes()

    def _reconcile(self) -> None:
        """Compare some of the jobs with their schedules, when it is time for that; the others in the next turns."""
        now = time.monotonic()
        if now < self._reconcile_at:
            return
        # Also if it fails, lest the loop be kept busy by it.
        self._reconcile_at = now + RECONCILE_INTERVAL
        planned = self._store.reconcile(self._clock())
        if not self._store.reconciler.between_passes:
            self._reconcile_at = 0.0
        if planned:
            logger.info("scheduler.reconciled", jobs=planned)
            self._forget_what_was_seen()

    # Firing

    def _something_is_up(self) -> bool:
        """Whether there is a reason to look: a due time has come, or somebody changed something."""
        if self._woken:
            self._woken = False
            self._note(ChangeCounter.current())
        changed, self._changed = self._changed, False
        if changed:
            self._waiting.note_news()
        return changed or (self._next_due is not None and self._clock() >= self._next_due)

    def _note(self, change: int) -> None:
        """Remember what the change counter stands at, and whether that is new."""
        self._changed = self._changed or change != self._seen_change
        self._seen_change = change

    def _forget_what_was_seen(self) -> None:
        """Have the next turn look at everything, whether or not something changed."""
        self._seen_change = -1
        self._woken = True

    def _fire(self) -> None:
        """Claim what is due, and take what waits where there may be any, until nothing is left."""
        more, now = True, self._clock()
        while more and not self._stopping:
            now = self._clock()
            claim = self._store.claim(now)
            self._executor.submit(claim.queued)
            more = claim.more
            if claim.held or self._waiting.may_be_ready(now):
                more = self._waiting.take(now) or more
            if more:
                self._keep_lease()
        self._next_due = self._find_next_due(now)

    def _find_next_due(self, claimed: datetime) -> datetime | None:
        """When there is something to fire or to take next, everything up to `claimed` being done."""
        times = [at for at in (self._store.get_next_run_time(), self._waiting.ready_at) if at is not None]
        next_due = min(times, default=None)
        if next_due is not None and next_due <= claimed:
            # Left out, because another transaction works on the row: no reason to ask without a pause.
            return self._clock() + LOCKED_PAUSE
        return next_due

    def _time_to_sleep(self) -> float:
        now = time.monotonic()
        pause = self._keep_at - now
        if self._lease.leading:
            pause = min(pause, self._settle_at - now, self._reconcile_at - now)
            if self._woken:
                pause = 0.0
            if self._next_due is not None:
                pause = min(pause, (self._next_due - self._clock()) / timedelta(seconds=1))
        return max(0.0, pause)

    # Staying alive

    def _survive(self, error: Exception) -> float:
        """Log an error, once per kind until a turn succeeds, and say how long to back off."""
        self._failures += 1
        kind = type(error).__name__
        if kind not in self._kinds_of_failure:
            self._kinds_of_failure.add(kind)
            known = isinstance(error, AnyDatabaseError)
            logger.error("scheduler.turn_failed", error=f"{kind}: {error}", exc_info=None if known else error)
        self._keep_at = 0.0
        self._forget_what_was_seen()
        close_old_connections()
        ceiling = min(BACKOFF_LONGEST, BACKOFF_FIRST * (1 << min(self._failures, 10)))
        return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
