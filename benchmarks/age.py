"""How old is what readers get, at equal cost? A passive cache, even refreshing, and the √ rule, on a Zipf workload.

Simulated, for an hour: 500 keys, the n-th read 1/n as often as the first, 50 reads a second. A passive cache that
keeps a value for 300 s makes about 5,407 calls in that hour; the others get as many. Each contender has the same
reads, and keys whose first refreshes are spread at random.

For real, and five times as fast: each contender with a process of the demo's upstream, which counts the calls, and all
at once. Ours is the planner and the refresh in a loop, with the reads it would know of after half an hour; its budget
is such that the plan may take the calls that the passive cache needs. Reads are `hotdata.get`.
"""

from __future__ import annotations

import heapq
import itertools
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import requests
from django.db import connections
from django.test import override_settings

import hotdata
from benchmarks.measuring import percentile
from benchmarks.processes import ROOT
from hotdata.freshness import entries, planner
from hotdata.freshness.entries import Stored
from hotdata.freshness.rates import Demand, rates
from hotdata.freshness.refresh import refresh
from hotdata.models import Source
from hotdata.models.hotkeys import remember
from tools.children import spawn, stop

HOUR = 3600.0  # seconds, as all times here
KEYS = 500
READS_PER_SECOND = 50.0
TOP = 50
TTL = 300.0
SHORTEST = 1.0
CALLS_PER_HOUR = 5_407.0
BATCH = 50
BATCHES_PER_HOUR = 1_000.0

SPEED = 5.0
"""How much faster than the simulation all goes for real."""
LATENCY_MS = 30
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")

Refreshes = Iterator[tuple[float, Sequence[int]]]
"""The times of calls in their order, each with the keys that it refreshes. Without end."""


@dataclass(frozen=True, kw_only=True)
class Read:
    at: float
    key: int


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Reads at random: keys are numbered from the most-read one on."""

    keys: int
    reads_per_second: float
    length: float
    seed: int = 4

    @property
    def frequencies(self) -> list[float]:
        """Reads a second, by key."""
        shares = [1 / number for number in range(1, self.keys + 1)]
        return [self.reads_per_second * share / sum(shares) for share in shares]

    def reads(self) -> list[Read]:
        chance = random.Random(self.seed)
        times = itertools.accumulate(chance.expovariate(self.reads_per_second) for _ in itertools.count())
        at = list(itertools.takewhile(lambda at: at < self.length, times))
        keys = chance.choices(range(self.keys), weights=self.frequencies, k=len(at))
        return [Read(at=moment, key=key) for moment, key in zip(at, keys, strict=True)]

    def intervals(self, refreshes_per_hour: float, *, shortest: float, longest: float) -> list[float]:
        """Seconds between two refreshes of each key, by the √ rule."""
        demands = [
            Demand(weight=frequency, shortest=shortest / 60, longest=longest / 60)
            for frequency in self.frequencies
        ]
        return [60 / rate for rate in rates(demands, refreshes_per_hour / 60)]

    def passive_calls(self, ttl: float) -> float:
        """The calls an hour of a passive cache: a key is fetched by its first reader after `ttl`."""
        return sum(HOUR / (ttl + 1 / frequency) for frequency in self.frequencies)


@dataclass(frozen=True, kw_only=True)
class Ages:
    """What readers got: the age in seconds of what each read returned, by key."""

    by_key: dict[int, list[float]]
    calls: int
    blocked: int
    """Reads that waited for the upstream."""

    def figures(self, length: float, top: int) -> dict[str, Any]:
        ages = [age for found in self.by_key.values() for age in found]
        of_top = [age for key, found in self.by_key.items() if key < top for age in found]
        return {
            "mean_s": sum(ages) / len(ages),
            "p50_s": percentile(ages, 0.5),
            "p99_s": percentile(ages, 0.99),
            f"top_{top}_p99_s": percentile(of_top, 0.99),
            "blocked_percent": self.blocked / len(ages) * 100,
            "calls_per_hour": self.calls / length * HOUR,
        }


# Simulated


def passive(workload: Workload, ttl: float) -> Ages:
    """A value is fetched by the reader who finds it older than `ttl`."""
    chance = random.Random(workload.seed)
    fetched = [-chance.uniform(0, ttl) for _ in range(workload.keys)]
    ages: dict[int, list[float]] = {key: [] for key in range(workload.keys)}
    calls = 0
    for read in workload.reads():
        if read.at - fetched[read.key] > ttl:
            fetched[read.key] = read.at
            calls += 1
        ages[read.key].append(read.at - fetched[read.key])
    return Ages(by_key=ages, calls=calls, blocked=calls)


def ahead(workload: Workload, intervals: Sequence[float], refreshes: Refreshes) -> Ages:
    """Values are refreshed ahead of their readers. Before the first of `refreshes` each is of a random age."""
    chance = random.Random(workload.seed)
    fetched = [-chance.uniform(0, interval) for interval in intervals]
    ages: dict[int, list[float]] = {key: [] for key in range(workload.keys)}
    calls = 0
    at, refreshed = next(refreshes)
    for read in workload.reads():
        while at <= read.at:
            calls += 1
            for key in refreshed:
                fetched[key] = at
            at, refreshed = next(refreshes)
        ages[read.key].append(read.at - fetched[read.key])
    return Ages(by_key=ages, calls=calls, blocked=0)


def singly(workload: Workload, intervals: Sequence[float]) -> Refreshes:
    """Each key when its interval has passed, in a call of its own."""
    due = _first_due(workload, intervals)
    while True:
        at, key = due[0]
        yield at, (key,)
        heapq.heapreplace(due, (at + intervals[key], key))


def in_batches(workload: Workload, intervals: Sequence[float], size: int, pace: float) -> Refreshes:
    """A call each `pace` seconds for what is due then, filled up with what is due soon, as `Plan.due` does."""
    due = _first_due(workload, intervals)
    for turn in itertools.count(1):
        now = turn * pace
        due.sort()
        late = sum(at <= now for at, _ in due)
        soon = (place for place, (at, key) in enumerate(due[late:], late) if at - now <= intervals[key] / 2)
        places = [*range(min(late, size)), *itertools.islice(soon, max(0, size - late))] if late else []
        if places:
            yield now, [due[place][1] for place in places]
        for place in places:
            _, key = due[place]
            due[place] = now + intervals[key], key


def _first_due(workload: Workload, intervals: Sequence[float]) -> list[tuple[float, int]]:
    chance = random.Random(workload.seed)
    # As old as `ahead` has it, so due when the rest of the interval has passed.
    due = [(interval - chance.uniform(0, interval), key) for key, interval in enumerate(intervals)]
    heapq.heapify(due)
    return due


def uniform(workload: Workload, calls_per_hour: float) -> Ages:
    intervals = [workload.keys / calls_per_hour * HOUR] * workload.keys
    return ahead(workload, intervals, singly(workload, intervals))


def ours(workload: Workload, calls_per_hour: float, *, longest: float) -> Ages:
    intervals = workload.intervals(calls_per_hour, shortest=SHORTEST, longest=longest)
    return ahead(workload, intervals, singly(workload, intervals))


def ours_in_batches(
    workload: Workload, calls_per_hour: float, size: int, *, shortest: float, longest: float
) -> Ages:
    pace = HOUR / calls_per_hour
    intervals = workload.intervals(calls_per_hour * size, shortest=max(shortest, pace), longest=longest)
    return ahead(workload, intervals, in_batches(workload, intervals, size, pace))


def simulate() -> dict[str, dict[str, Any]]:
    """The figures of each contender, of one hour."""
    workload = Workload(keys=KEYS, reads_per_second=READS_PER_SECOND, length=HOUR)
    batches = partial(ours_in_batches, workload, BATCHES_PER_HOUR, BATCH, longest=60)
    contenders: dict[str, Callable[[], Ages]] = {
        "passive, TTL 300 s": partial(passive, workload, TTL),
        "uniform": partial(uniform, workload, CALLS_PER_HOUR),
        "√ rule, cap 400 s": partial(ours, workload, CALLS_PER_HOUR, longest=400),
        "√ rule, +33 % budget, cap 300 s": partial(ours, workload, 1.33 * CALLS_PER_HOUR, longest=300),
        "√ rule, batches of 50, cap 60 s": partial(batches, shortest=SHORTEST),
        "√ rule, batches of 50, cap 60 s, floor 14 s": partial(batches, shortest=14),
    }
    return {name: contend().figures(workload.length, TOP) for name, contend in contenders.items()}


# For real


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One that is read for real, with a source and an upstream of its own."""

    source: Source
    upstream: str
    ttl: float | None = None
    """Of a passive one: a reader fetches for itself what is older."""
    due: Callable[[], list[str]] = list
    """Of the others: what to refresh now."""
    pause: float = 0.2
    """Until that is asked again."""


def compare(seconds: float) -> dict[str, dict[str, Any]]:
    """The figures of each contender, of so many seconds, all at the same time."""
    workload = Workload(keys=KEYS, reads_per_second=SPEED * READS_PER_SECOND, length=seconds)
    with ExitStack() as running:
        addresses = [running.enter_context(upstream()) for _ in range(4)]
        allowed = [address.removeprefix("http://") for address in addresses]
        running.enter_context(override_settings(HOTDATA_ALLOW_PRIVATE=allowed))
        contenders = contend(workload, addresses)
        for contender in contenders.values():
            requests.delete(f"{contender.upstream}/log", timeout=5)
        done, began = threading.Event(), time.time()
        with ThreadPoolExecutor(2 * len(contenders)) as threads:
            refreshing = [threads.submit(keep_fresh, contender, done) for contender in contenders.values()]
            reading = {
                name: threads.submit(read_all, workload, contender, began)
                for name, contender in contenders.items()
            }
            try:
                wait(reading.values(), return_when=FIRST_EXCEPTION)
            finally:
                done.set()
        for future in refreshing:
            future.result()
        return {
            name: replace(reading[name].result(), calls=calls_of(contender)).figures(seconds, TOP)
            for name, contender in contenders.items()
        }


def contend(workload: Workload, addresses: Sequence[str]) -> dict[str, Contender]:
    """The contenders, each with a source whose keys are of a random age."""
    passive_to, uniform_to, ours_to, batches_to = addresses
    ttl, cap, batched_cap = TTL / SPEED, 400 / SPEED, 60 / SPEED
    calls_per_hour = workload.passive_calls(ttl)
    even = [workload.keys / calls_per_hour * HOUR] * workload.keys
    by_rule = workload.intervals(calls_per_hour, shortest=SHORTEST / SPEED, longest=cap)
    single = make_source("single", ours_to, workload, by_rule, **plan_for(calls_per_hour, cap))
    batches_per_hour = SPEED * BATCHES_PER_HOUR
    batched = make_source(
        "batched",
        batches_to,
        workload,
        [batched_cap] * workload.keys,
        **plan_for(batches_per_hour, batched_cap),
        batch_size=BATCH,
        batch_path="/stocks",
        batch_query={"symbols": "{keys}"},
        batch_items="quotes",
        batch_key="symbol",
    )
    return {
        f"passive, TTL {ttl:g} s": Contender(
            source=make_source("passive", passive_to, workload, [ttl] * workload.keys),
            upstream=passive_to,
            ttl=ttl,
        ),
        "uniform": Contender(
            source=make_source("uniform", uniform_to, workload, even),
            upstream=uniform_to,
            due=partial(older_than, "uniform", even[0]),
        ),
        f"hotdata, cap {cap:g} s": Contender(
            source=single, upstream=ours_to, due=partial(due_by_plan, single)
        ),
        f"hotdata, batches of {BATCH}, cap {batched_cap:g} s": Contender(
            source=batched,
            upstream=batches_to,
            due=partial(due_by_plan, batched),
            pause=HOUR / batches_per_hour,
        ),
    }


def plan_for(calls_per_hour: float, cap: float) -> dict[str, Any]:
    """The fields of a source whose plan may take so many calls."""
    return {
        "calls_per_minute": int(calls_per_hour / 60 / planner.BUDGET_SHARE),
        "refresh_after": timedelta(seconds=SHORTEST / SPEED),
        "max_age": timedelta(seconds=cap),
    }


def make_source(
    name: str, address: str, workload: Workload, oldest: Sequence[float], **fields: Any
) -> Source:
    """A source whose reads are known, with an entry for each key that is no older than `oldest` says."""
    source = Source(
        **{
            "name": name,
            "base_url": address,
            "path": "/stocks/{key}",
            "key_policy": "any",
            "hot_keys": workload.keys,
            "soft_ttl": timedelta(hours=1),  # no reader asks for a refresh: the contenders do
            "calls_per_minute": 10_000,
            **fields,
        }
    )
    source.full_clean()
    source.save()
    names = [name_of(key) for key in range(workload.keys)]
    remember(
        name,
        {key: 60 * frequency for key, frequency in zip(names, workload.frequencies, strict=True)},
        datetime.now(UTC),
    )
    chance, now = random.Random(workload.seed), time.time()
    entries.write(
        [
            Stored(
                source=name,
                key=key,
                value={"symbol": key},
                fetched_at=(at := now - chance.uniform(0, age)),
                soft_expiry=at + HOUR,
                hard_expiry=at + 24 * HOUR,
                changed_at=at,
            )
            for key, age in zip(names, oldest, strict=True)
        ]
    )
    return source


def name_of(key: int) -> str:
    """A symbol that the demo's upstream knows."""
    return f"A{chr(65 + key // 26)}{chr(65 + key % 26)}"


def due_by_plan(source: Source) -> list[str]:
    return planner.due_keys(source, datetime.now(UTC))


def older_than(source: str, age: float) -> list[str]:
    stored = entries.read_many(source, [name_of(key) for key in range(KEYS)])
    return [key for key, entry in stored.items() if entry.fetched_at + age <= time.time()]


def keep_fresh(contender: Contender, done: threading.Event) -> None:
    """Refresh what is due, in turns, until all is `done`."""
    try:
        while not done.wait(contender.pause):
            if due := contender.due():
                refresh(contender.source, due)
    finally:
        connections.close_all()


def read_all(workload: Workload, contender: Contender, began: float) -> Ages:
    """Make each read of the workload when its time has come."""
    ages: dict[int, list[float]] = {key: [] for key in range(workload.keys)}
    blocked = 0
    try:
        for read in workload.reads():
            time.sleep(max(0.0, began + read.at - time.time()))
            entry = hotdata.get(contender.source.name, name_of(read.key))
            if contender.ttl is not None and entry.age > contender.ttl:
                blocked += 1
                refresh(contender.source, [entry.key])
                entry = hotdata.get(contender.source.name, entry.key)
            ages[read.key].append(entry.age)
    finally:
        connections.close_all()
    return Ages(by_key=ages, calls=0, blocked=blocked)


def calls_of(contender: Contender) -> int:
    """The calls that its upstream has seen."""
    total: int = requests.get(f"{contender.upstream}/log", timeout=5).json()["total"]
    return total


@contextmanager
def upstream() -> Iterator[str]:
    """The demo's upstream in a process of its own; yields its address."""
    command = [sys.executable, "manage.py", "demo_upstream", "--port=0", "--quiet", f"--latency={LATENCY_MS}"]
    process = spawn(command, farewell=signal.SIGKILL, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        with process.stdout as said:
            address = ADDRESS.search(said.readline())
            if address is None:
                raise RuntimeError("The demo's upstream did not start.")
            yield address[0]
    finally:
        stop(process)


def measure(how: str, seconds: float) -> dict[str, dict[str, Any]]:
    return simulate() if how == "simulated" else compare(seconds)
