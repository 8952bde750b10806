"""Which schedulers there are: who leads, who stands by, who has fallen silent. By the database's clock alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Subquery

from hotdata.conf import conf
from hotdata.models import Lease, Node


@dataclass(frozen=True, kw_only=True)
class Scheduler:
    """One ``runscheduler`` process."""

    name: str
    host: str
    pid: int
    started_at: datetime
    silent_for: timedelta
    """Since its last beat."""
    running: int
    """Runs that it works on, by its last word."""


@dataclass(frozen=True, kw_only=True)
class Schedulers:
    """All that are heard of, or were in the last day."""

    leader: Scheduler | None
    """None when nobody fires what is due."""
    standbys: tuple[Scheduler, ...]
    dead: tuple[Scheduler, ...]
    """Those that fell silent without a goodbye, the last one first."""
    last_leader: str
    """The name of who leads, or led last; empty when nobody ever did."""


def look() -> Schedulers:
    """The schedulers now. One query, unless none was heard of in the last day."""
    lease = Lease.objects.values("holder")
    known = Node.objects.with_life(conf().node_timeout).annotate(holder=Subquery(lease[:1]))
    nodes = list(known.order_by("-heartbeat_at"))
    holder = nodes[0].holder if nodes else lease.values_list("holder", flat=True).first()
    # Who was deposed in this moment may not have said so yet.
    leading = sorted(
        (node for node in nodes if node.alive and node.leading), key=lambda node: node.name != holder
    )
    leader = leading[0] if leading else None
    return Schedulers(
        leader=leader and _scheduler(leader),
        standbys=tuple(_scheduler(node) for node in nodes if node.alive and node is not leader),
        dead=tuple(_scheduler(node) for node in nodes if not node.alive),
        last_leader=holder or "",
    )


def _scheduler(node: Node) -> Scheduler:
    silent_for: timedelta = node.silent_for  # type: ignore[attr-defined]  # annotated
    return Scheduler(
        name=node.name,
        host=node.host,
        pid=node.pid,
        started_at=node.started_at,
        silent_for=max(silent_for, timedelta(0)),
        running=node.running,
    )
