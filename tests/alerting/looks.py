"""Looks at a site whose clock is the test's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from hotdata.alerting import looking
from hotdata.alerting.looking import Looked
from hotdata.models import Alert, Delivery, Job, Run
from hotdata.models.runs import Cause, State
from tests.builders import make_job, make_run

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


@dataclass
class Watch:
    """Who looks each 15 seconds, by a clock that moves when it is told to."""

    now: datetime = field(default_factory=timezone.now)

    def look(self, after: timedelta = 15 * SECOND) -> Looked:
        self.now += after
        return looking.look(self.now)

    def ran(self, job: Job, *states: str, **fields: Any) -> Run:
        """The job ran by its schedule, and came to each of `states`; returns the last run."""
        for state in states:
            self.now += SECOND
            values = {
                "cause": Cause.SCHEDULE,
                "scheduled_for": self.now,
                "created_at": self.now,
                "started_at": self.now,
                "attempt": 1,
                "error": "ValueError: broken" if state == State.FAILED else "",
            }
            run = make_run(job, state=state, **(values | fields))
        return run


def job_called(name: str = "update", **fields: Any) -> Job:
    """A job that is due next when no test is looking."""
    return make_job(name=name, **({"cron": "0 0 29 2 *"} | fields))


def subjects() -> list[str]:
    """Of all messages, in the order of posting."""
    return list(Delivery.objects.order_by("id").values_list("subject", flat=True))


def texts() -> list[str]:
    return list(Delivery.objects.order_by("id").values_list("text", flat=True))


def alerts() -> list[tuple[str, str, bool]]:
    """Kind, subject and whether it is open, of all alerts in the order of opening."""
    rows = Alert.objects.order_by("id")
    return [(alert.kind, alert.subject, alert.closed_at is None) for alert in rows]
