"""The refresher: keeps the hot sets of all sources fresh for as long as it is told to. Behind the task `refresh_due`.

In each turn it shows that wishes are served, takes those that there are and what operators demand, asks the sources'
plans what is due, and has all of it refreshed. Sources are refreshed side by side, each once at a time: an upstream
that hangs holds up no other. Keys are fetched under their leases, so what a reader or another refresher fetches just
now isn't fetched twice.

Between turns it waits for wishes, which wake it, and for the next due time. While Redis is away it waits for that.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import Error as AnyDatabaseError
from django.db import close_old_connections, connections
from django.utils import timezone

from hotdata.exceptions import CacheUnavailable, RunCancelled, RunTimedOut
from hotdata.freshness import demands, entries, planner, wants
from hotdata.freshness.fetching import REST, Fetch
from hotdata.freshness.outcomes import Refreshed, RefreshFailed
from hotdata.freshness.planner import Plan
from hotdata.logs import EventLogger
from hotdata.models import Source
from hotdata.text import storable

logger = EventLogger(__name__)

SOURCES_AT_A_TIME = 16
MOST_WISHES = 1000  # in one turn; and as many demands
PATIENCE = timedelta(seconds=5)  # at the gate
FAILURES_SHOWN = 20

# All in seconds.
WISH_WAIT = 0.25  # less than the client waits for any answer of Redis
GATHER = 0.05  # after a wish
PLAN_AT_MOST = 1.0  # between two plans of a source of which nothing could be fetched
AWAY = 1.0  # between two tries while Redis or the database is away
LOOK_AGAIN = 5.0  # at which sources there are
PLAN_AGAIN = 15.0  # when nothing is due: reads change what is hot
BROKEN_REST = 30.0  # of a source whose definition can't be used


@dataclass(kw_only=True)
class Kept:
    """What came of one source while it was kept fresh. Counts are keys, but for ``calls``."""

    refreshed: int = 0
    unchanged: int = 0
    failures: int = 0
    postponed: int = 0
    """How often a key was left for later, since the budget was used up."""
    calls: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """By key, why it failed last; the first of them."""
    error: str = ""
    """Why the source as a whole could not be refreshed, when it was tried last."""

    def add(self, result: Refreshed) -> None:
        self.refreshed += result.refreshed
        self.unchanged += result.unchanged
        self.failures += result.failures
        self.postponed += result.postponed
        self.calls += result.calls
        for key, why in result.failed.items():
            if key in self.failed or len(self.failed) < FAILURES_SHOWN:
                self.failed[key] = why


class Refresher:
    """Keeps all enabled sources fresh. `check` is called often, and may raise to end it all.

    ``kept`` is what came of it, by source; sources that needed nothing are not there.
    """

    def __init__(self, *, check: Callable[[], None], run_id: int | None = None) -> None:
        self.kept: dict[str, Kept] = {}
        self.errors: dict[str, Exception] = {}
        """What sources failed with that got nothing refreshed."""
        self._check = check
        self._run_id = run_id
        self._keepers: dict[str, _Keeper] = {}
        self._look_at = 0.0  # monotonic
        self._away = False

    def keep_fresh(self, go_on: Callable[[], bool]) -> None:
        """Go on as long as `go_on` says so, and see to all sources once at least.

        What is under way at the end is waited for. Raises what `check` raises; and CacheUnavailable or a database's
        error when Redis or the database was away all the time.
        """
        seen_to = False
        with ThreadPoolExecutor(SOURCES_AT_A_TIME, thread_name_prefix="hotdata-refresher") as pool:
            try:
                while not seen_to or go_on():
                    self._check()
                    try:
                        self._turn(pool)
                        seen_to = True
                        if go_on():
                            self._wait()
                    except (CacheUnavailable, AnyDatabaseError) as error:
                        close_old_connections()
                        if go_on():
                            self._survive(error)
                        elif not seen_to:
                            raise
                self._finish()
            finally:
                wants.withdraw()

    def _turn(self, pool: ThreadPoolExecutor) -> None:
        wants.announce()
        self._look(pool)
        now = timezone.now()
        for source, keys in demands.take(MOST_WISHES).items():
            if source in self._keepers:
                self._keepers[source].demand(keys)
        self._hand_out(wants.take(MOST_WISHES))
        for keeper in self._keepers.values():
            keeper.turn(now)

    def _look(self, pool: ThreadPoolExecutor) -> None:
        """Look which sources there are, now and then."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_AGAIN
        sources = {source.name: source for source in Source.objects.enabled().prefetch_related("pinned")}
        for name, source in sources.items():
            if name not in self._keepers:
                self._keepers[name] = _Keeper(self, pool)
            self._keepers[name].source = source
        for name in self._keepers.keys() - sources.keys():
            del self._keepers[name]

    def _hand_out(self, wished: Mapping[str, list[str]]) -> None:
        for source, keys in wished.items():
            if source in self._keepers:
                self._keepers[source].wish(keys)

    def _wait(self) -> None:
        """Wait for a wish, a little at most: a due time may come, and a refresh may end."""
        self._hand_out(wants.wait(WISH_WAIT))
        time.sleep(GATHER)  # what else is wished for comes into the same turn

    def _survive(self, error: Exception) -> None:
        """Wait for what is away. Of Redis, it was said by who noticed."""
        if isinstance(error, AnyDatabaseError) and not self._away:
            logger.warning("refresher.database_away", error=error)
        self._away = isinstance(error, AnyDatabaseError)
        time.sleep(AWAY)

    def _finish(self) -> None:
        while any(keeper.busy for keeper in self._keepers.values()):
            self._check()
            time.sleep(WISH_WAIT / 10)
        for keeper in self._keepers.values():
            with suppress(CacheUnavailable):  # what could not be stored is due in the next run as well
                keeper.reap()

    def refresh(self, source: Source, due: Mapping[str, float]) -> Refreshed | None:
        """Fetch those of the keys in `due` that nobody fetches already, nor has fetched since they were seen to be due.

        `due` says when what was seen had been fetched, 0 for what had not. In a thread of the pool.

        No more than the gate may let through at once; the others are due in the next turn as well.
        """
        try:
            fetch = Fetch(
                source=source,
                seen=due,
                patience=PATIENCE,
                # A key that fails is not asked for more often than one that doesn't.
                rest=max(REST, source.shortest_interval),
                run_id=self._run_id,
                progress=lambda done, total: self._check(),
            )
            # What stays due, but can't be fetched now, must not be in the way of all that is due after it.
            ours = fetch.acquire(fetch.fetchable(list(due))[: source.burst * source.batch_size])
            return fetch.run(ours) if ours else None
        finally:
            connections.close_all()  # the thread may end, and its connections with nobody to close them


class _Keeper:
    """Keeps one source fresh. Called by the refresher's thread alone."""

    def __init__(self, refresher: Refresher, pool: ThreadPoolExecutor) -> None:
        self._refresher = refresher
        self._pool = pool
        self._plan: Plan | None = None
        self._planned_at = self._plan_at = 0.0  # monotonic; when it was made, and when another one is
        self._rest_until = 0.0  # monotonic
        self._full_at = 0.0  # monotonic; when the next batch has had its time to fill
        self._wished: set[str] = set()
        self._demanded: dict[str, None] = {}
        self._under_way: Future[Refreshed | None] | None = None
        self.source: Source

    @property
    def busy(self) -> bool:
        return self._under_way is not None and not self._under_way.done()

    def wish(self, keys: Iterable[str]) -> None:
        """Refresh `keys` soon, as far as they are stale."""
        self._wished.update(keys)

    def demand(self, keys: Iterable[str]) -> None:
        """Refresh `keys` before all others, whatever is stored of them and whether the source rests or not."""
        self._demanded.update(dict.fromkeys(keys))

    def turn(self, now: datetime) -> None:
        """Begin to refresh what is due or wished for, unless the last refresh still goes on.

        A source that can't be planned or refreshed at all stops no other. Raises what ends the whole run.
        """
        if self.busy or time.monotonic() < self._rest_until:
            return
        self.reap()
        try:
            due = self._first() | self._due(now) | self._stale(now)
        except CacheUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a plugged-in fetcher or a broken row: logged, and the others go on
            self._give_up(error)
            return
        if due:
            here, refresh = contextvars.copy_context(), self._refresher.refresh
            self._under_way = self._pool.submit(here.run, refresh, self.source, due)

    def reap(self) -> None:
        """Note what came of the refresh that has ended, if one has. Raises what ends the whole run."""
        ended, self._under_way = self._under_way, None
        if ended is None:
            return
        try:
            result = ended.result()
        except (RunCancelled, RunTimedOut, CacheUnavailable):
            raise
        except RefreshFailed as error:
            self._kept().add(error.result)
            if error.result.failures:
                self._refresher.errors[self.source.name] = error
        except Exception as error:  # noqa: BLE001 - likewise
            self._give_up(error)
        else:
            if result is not None:
                kept = self._kept()
                kept.add(result)
                kept.error = ""
                self._refresher.errors.pop(self.source.name, None)

    def _give_up(self, error: Exception) -> None:
        """Leave the source alone for a while: its definition needs somebody's care, or the database is away."""
        away = isinstance(error, AnyDatabaseError)
        self._rest_until = time.monotonic() + (AWAY if away else BROKEN_REST)
        name, kept, said = self.source.name, self._kept(), storable(f"{type(error).__name__}: {error}")
        if kept.error != said:
            logger.error("source.not_refreshed", source=name, exc_info=error)
        kept.error = said
        self._refresher.errors[name] = error

    def _kept(self) -> Kept:
        return self._refresher.kept.setdefault(self.source.name, Kept())

    def _first(self) -> dict[str, float]:
        """`_due` for what was demanded: as many keys as one turn has room for, since each is tried once."""
        most = self.source.burst * self.source.batch_size
        keys = list(self._demanded)[:most]
        stored = entries.read_many(self.source.name, keys)
        for key in keys:
            del self._demanded[key]
        return {key: stored[key].fetched_at if key in stored else 0.0 for key in keys}

    def _due(self, now: datetime) -> dict[str, float]:
        """The keys to refresh by the plan, and when what is stored of them was fetched."""
        plan, clock = self._plan, time.monotonic()
        has_due = plan is not None and plan.next_due is not None and plan.next_due <= now
        if plan is None or clock >= self._plan_at or (has_due and clock >= self._planned_at + PLAN_AT_MOST):
            # Also when something is due by the last plan: other jobs refresh keys, too.
            plan = self._plan = planner.plan(self.source, now)
            self._planned_at, self._plan_at = clock, clock + PLAN_AGAIN
        elif has_due:
            return {}
        if clock < self._full_at:
            return {}
        due = plan.due(now)
        if due and self.source.batch_size > 1:
            self._full_at = clock + 60 / plan.budget
        fetched_at = {planned.key: planned.fetched_at for planned in plan.keys}
        return {key: moment.timestamp() if (moment := fetched_at[key]) else 0.0 for key in due}

    def _stale(self, now: datetime) -> dict[str, float]:
        """`_due` for the keys that were wished for, and still need it. While the source rests, none does."""
        wished, self._wished = self._wished, set()
        if not wished or not self.source.build_windows().is_open(now):
            return {}
        stored = entries.read_many(self.source.name, wished)
        return {
            key: found.fetched_at for key, found in stored.items() if found.soft_expiry <= now.timestamp()
        }
