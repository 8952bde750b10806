"""Looking: one turn of alerting. What is wrong now, by the records; which alerts there are; who is to be told.

Rules look; what they see is reconciled with the alerts on record, and what is new is put down and posted for each
recipient, in one transaction. So a look that is cut off anywhere has done nothing, and the next one does it. No
alert is twice on record, none is lost, and nothing of it stands in the way of firing. Rules that only look at the
present do so before the transaction: they may wait for Redis. Those that count runs do so within it, where the row
of looks is locked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from django.db import connection, transaction

from hotdata.alerting import components, failing, lagging, ledger, missing, telling, upstreams
from hotdata.alerting.findings import ABOUT_SOURCES, Finding, Seen
from hotdata.alerting.reconciling import Reconciliation
from hotdata.exceptions import CacheUnavailable
from hotdata.logs import EventLogger
from hotdata.models import Alert, Look
from hotdata.outbox.posting import alert_recipients

Kind = Alert.Kind
LONGEST_LOOK = timedelta(minutes=5)

logger = EventLogger(__name__)


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
    """Look once. Does nothing where somebody has looked meanwhile, at a moment that is a little later.

    A rule that breaks stops no other: what these saw is told, and then its error is raised.
    """
    broken: list[Exception] = []
    seen = _present(now, broken)
    recipients = alert_recipients()
    with transaction.atomic():
        last = Look.lock()
        # Much later than now it can only be by a clock that was ahead.
        if last.looked_at is not None and now < last.looked_at < now + LONGEST_LOOK:
            return Looked()
        runs_from = ledger.next_runs_from(now)
        seen += _seen(partial(failing.find, last.runs_from), Kind.FAILING, broken)
        seen += _seen(partial(missing.find, last.runs_from), Kind.MISSED, broken)
        reconciliation = Reconciliation(seen, now, anybody=bool(recipients))
        told = telling.put_down(reconciliation.tellings(), recipients, now)
        posted = telling.post(recipients, now)
        last.looked_at = now
        if not broken:  # else what the broken one has not seen is seen once it is mended
            last.runs_from = runs_from
        last.save()
        came_to = reconciliation.came_to
    if broken:
        raise broken[0]
    return Looked(opened=came_to.opened, closed=came_to.closed, told=told, posted=posted)


def _present(now: datetime, broken: list[Exception]) -> Seen:
    """What is wrong at this moment."""
    seen = _seen(partial(lagging.find_overdue, now), Kind.OVERDUE, broken)
    seen += _seen(partial(lagging.find_too_long, now), Kind.TOO_LONG, broken)
    seen += _seen(upstreams.find_open_breakers, Kind.BREAKER, broken)
    seen += _seen(partial(upstreams.find_stale, now), Kind.STALE, broken)
    of_sources = Alert.objects.open().filter(kind__in=ABOUT_SOURCES)
    in_trouble = {finding.subject for finding in seen.findings if finding.kind in ABOUT_SOURCES}
    in_trouble |= set(of_sources.values_list("subject", flat=True))
    return seen + _seen(partial(components.find, now, in_trouble), Kind.COMPONENT, broken)


def _seen(rule: Callable[[], Iterable[Finding]], kind: Alert.Kind, broken: list[Exception]) -> Seen:
    """What `rule` sees. Where it can't look, open alerts of its `kind` stay as they are."""
    # Within a transaction, a statement that fails must not spoil it for the others.
    apart = transaction.atomic() if connection.in_atomic_block else nullcontext()
    try:
        with apart:
            return Seen(findings=tuple(rule()), kinds=(kind,))
    except CacheUnavailable:
        # That nobody knows how old the keys are is no news of each of them: the component Redis says so once.
        return Seen()
    except Exception as error:  # a rule meets whatever is on record
        logger.exception("alerting.rule_broken", kind=kind)
        broken.append(error)
        return Seen()
