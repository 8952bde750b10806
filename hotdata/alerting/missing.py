"""Missing: jobs whose due times were missed, counted with those that share a record.

It is over as soon as the job has run again. A record of missed due times grows while it is the job's latest account;
the open alert looks at it again each time.
"""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Count, Max, Min, QuerySet, Sum

from hotdata.alerting import ledger as ledgers
from hotdata.alerting.findings import Finding, one_line
from hotdata.alerting.ledger import Ledger
from hotdata.models import Alert, Run
from hotdata.models.runs import UNSUCCESSFUL, State
from hotdata.observing.finding import one_of

KIND = Alert.Kind.MISSED


def find(runs_from: int) -> Iterator[Finding]:
    """What is missed and has not been made up for, or was since the last look."""
    missed = one_of(_missed(), "state", UNSUCCESSFUL).filter(id__gte=runs_from)
    latest = dict(missed.order_by().values_list("job_id").annotate(id=Max("id")))
    ledger = ledgers.read(KIND, runs_from, latest.keys())
    for job in sorted(ledger.news(latest) | ledger.open.keys()):
        finding = _of_job(job, ledger)
        if finding is not None and not (finding.over and ledger.first_time):
            yield finding


def _of_job(job: str, ledger: Ledger) -> Finding | None:
    alert = ledger.open.get(job)
    missed = _missed().filter(job_id=job)
    if alert is not None and alert.first_run is not None:
        missed = missed.filter(id__gte=alert.first_run)
    else:
        missed = missed.filter(id__gt=ledger.counted_of(job))
    counts = missed.aggregate(
        records=Count("id"), shared=Sum("coalesced"), first=Min("id"), last=Max("id"), since=Min("created_at")
    )
    if not counts["records"]:
        return None  # clean-up has them
    count, last = counts["records"] + (counts["shared"] or 0), counts["last"]
    reason = missed.order_by("-id").values_list("reason", flat=True)[:1].get()
    made_up = Run.objects.filter(job_id=job, id__gt=last, started_at__isnull=False).order_by("id")
    ran = made_up.values_list("id", flat=True).first()
    due = "due time" if count == 1 else "due times"
    return Finding(
        kind=KIND,
        subject=job,
        summary=f"{job} missed {count:,} {due}: {one_line(reason)}",
        since=counts["since"],
        count=count,
        runs=(counts["first"], last),
        over="" if ran is None else f"Run {ran} has started.",
    )


def _missed() -> QuerySet[Run]:
    return Run.objects.filter(state=State.MISSED)
