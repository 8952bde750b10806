"""What Prometheus is told: a reading of the records, of all processes together, taken when somebody asks for it.

No process counts for itself, so it doesn't matter which one is asked, and there is nothing to lose by a restart.
Counters come from totals that outlive records (`totals`, `CallTotal`, and Redis for what is counted at reads), all
else shows how things are at this moment. Labels are names of jobs and sources, `MOST_SOURCES` and `MOST_JOBS` of them,
and words; never keys or texts. What Redis doesn't tell is left out.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import django
from django.db import Error as AnyDatabaseError
from django.db.models import Count
from django.utils import timezone
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric

from hotdata.models import Alert, Component, Source
from hotdata.models.components import Health
from hotdata.observing import schedulers, totals
from hotdata.observing.patience import at_most
from hotdata.observing.run_metrics import ended, waiting
from hotdata.observing.source_metrics import MOST_SOURCES, calls, told_by_redis
from hotdata.version import VERSION

MOST_COMPONENTS = 2 * MOST_SOURCES
PATIENCE = timedelta(seconds=5)
KEPT = 3.0  # seconds

SEVERITIES = {state: place for place, state in enumerate(Health)}


class Reading:
    """All metrics at one moment, as prometheus-client's encoders want them."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def read(now: datetime) -> Reading:
    """Take a reading. Raises the database's errors, and BeingCounted."""
    began = time.perf_counter()
    metrics: list[Metric] = [InfoMetricFamily("hotdata_build", "Versions of what runs.", value=_versions())]
    with at_most(PATIENCE):
        sources = list(Source.objects.order_by("id"))
        jobs_cut = totals.without_total()
        for part in (ended(now), waiting(now), _nodes(), calls(), _alerts(), _components()):
            metrics += part
    metrics += told_by_redis(sources, now)
    cut = GaugeMetricFamily(
        "hotdata_labels_cut",
        "Jobs and sources that are counted together, as there are so many.",
        labels=["label"],
    )
    cut.add_metric(["job"], jobs_cut)
    cut.add_metric(["source"], max(0, len(sources) - MOST_SOURCES))
    took = GaugeMetricFamily("hotdata_reading_seconds", "How long this reading took.")
    took.add_metric([], time.perf_counter() - began)
    return Reading([*metrics, cut, took])


class Readings:
    """Readings, of which each serves all who ask within a moment, and those who ask while it is taken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: Reading | AnyDatabaseError | None = None
        self._taken_at = 0.0  # monotonic

    def latest(self) -> Reading:
        """A reading that is `KEPT` seconds old at most. Raises what `read` does; an outage, too, is found out once."""
        with self._lock:
            if self._latest is None or time.monotonic() - self._taken_at > KEPT:
                try:
                    self._latest = read(timezone.now())
                except AnyDatabaseError as error:
                    self._latest = error
                self._taken_at = time.monotonic()
            latest = self._latest
        if isinstance(latest, AnyDatabaseError):
            raise latest
        return latest

    def forget(self) -> None:
        self._latest = None


readings = Readings()


def _versions() -> dict[str, str]:
    return {"version": VERSION, "python": platform.python_version(), "django": django.get_version()}


def _nodes() -> Iterator[Metric]:
    found = schedulers.look()
    leader = GaugeMetricFamily(
        "hotdata_leader", "1 for the scheduler that fires what is due.", labels=["node"]
    )
    if found.leader is not None:
        leader.add_metric([found.leader.name], 1)
    yield leader
    nodes = GaugeMetricFamily(
        "hotdata_nodes", "Schedulers of the last day, by what they are.", labels=["state"]
    )
    nodes.add_metric(["leading"], int(found.leader is not None))
    nodes.add_metric(["standby"], len(found.standbys))
    nodes.add_metric(["dead"], len(found.dead))
    yield nodes


def _alerts() -> Iterator[Metric]:
    counted: Mapping[str, int] = dict(
        Alert.objects.open().order_by().values_list("kind").annotate(count=Count("id"))
    )
    alerts = GaugeMetricFamily("hotdata_alerts_open", "Alerts that are not over.", labels=["kind"])
    for kind in Alert.Kind:
        alerts.add_metric([kind], counted.get(kind, 0))
    yield alerts


def _components() -> Iterator[Metric]:
    components = GaugeMetricFamily(
        "hotdata_component_state",
        "How components did at the latest check: 0 is well, 1 degraded, 2 down.",
        labels=["component"],
    )
    for name, state in Component.objects.order_by("id").values_list("name", "state")[:MOST_COMPONENTS]:
        components.add_metric([name], SEVERITIES[Health(state)])
    yield components
