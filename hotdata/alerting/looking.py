"""Looking: one turn of alerting. What is wrong now, by the records; which alerts there are; who is to be told.

Rules look; what they see is reconciled with the alerts on record, and what is new is put down and posted for each
recipient, in one transaction. So a look that is cut off anywhere has done nothing, and the next one does it. No
alert is twice on record, none is lost, and nothing of it stands in the way of firing. Rules that only look at the
present do so before the transaction: they may wait for Redis. Those that count runs do so within it, where the row
of looks is locked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from hotdata.alerting import components, failing, lagging, ledger, missing, telling, upstreams
from hotdata.alerting.findings import Seen
from hotdata.alerting.reconciling import Reconciliation
from hotdata.exceptions import CacheUnavailable
from hotdata.models import Alert, Look
from hotdata.outbox.posting import alert_recipients

Kind = Alert.Kind
LONGEST_LOOK = timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What a look came to."""

    opened: int = 0
    closed: int = 0
    told: int = 0
    """Events that somebody is told of."""
    posted: int = 0
    """Messages, each to one recipient."""


def look(now: datetime) -> Looked:
    """Look once. Does nothing where somebody has looked meanwhile, at a moment that is a little later."""
    seen = _present(now)
    recipients = alert_recipients()
    with transaction.atomic():
        last = Look.lock()
        # Much later than now it can only be by a clock that was ahead.
        if last.looked_at is not None and now < last.looked_at < now + LONGEST_LOOK:
            return Looked()
        runs_from = ledger.next_runs_from(now)
        seen = _of_runs(last.runs_from) + seen
        reconciliation = Reconciliation(seen, now, anybody=bool(recipients))
        told = telling.put_down(reconciliation.tellings(), recipients, now)
        posted = telling.post(recipients, now)
        last.looked_at, last.runs_from = now, runs_from
        last.save()
        came_to = reconciliation.came_to
    return Looked(opened=came_to.opened, closed=came_to.closed, told=told, posted=posted)


def _of_runs(runs_from: int) -> Seen:
    return Seen(
        findings=(*failing.find(runs_from), *missing.find(runs_from)), kinds=(Kind.FAILING, Kind.MISSED)
    )


def _present(now: datetime) -> Seen:
    """What is wrong at this moment."""
    jobs = Seen(
        findings=(*lagging.find_overdue(now), *lagging.find_too_long(now)),
        kinds=(Kind.OVERDUE, Kind.TOO_LONG),
    )
    try:
        sources = Seen(
            findings=(*upstreams.find_open_breakers(), *upstreams.find_stale(now)),
            kinds=(Kind.BREAKER, Kind.STALE),
        )
    except CacheUnavailable:
        # That nobody knows how old the keys are is no news of each of them: the component Redis says so once.
        sources = Seen()
    open_ = Alert.objects.open()
    known = set(open_.filter(kind=Kind.COMPONENT).values_list("subject", flat=True))
    in_trouble = {finding.subject for finding in sources.findings}
    in_trouble |= set(open_.filter(kind__in=[Kind.BREAKER, Kind.STALE]).values_list("subject", flat=True))
    parts = Seen(findings=tuple(components.find(now, known, in_trouble)), kinds=(Kind.COMPONENT,))
    return jobs + sources + parts
