"""`makereport`: what it makes, what it says, what it refuses."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from pytest_django import Settings

from hotdata.models import Delivery, Report, Run
from hotdata.models.runs import State
from tests.builders import make_job, make_run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

NOW = datetime(2026, 11, 26, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _now(settings: Settings) -> Iterator[None]:
    settings.HOTDATA_REPORT_MAIL = ["ops@example.com"]
    with time_machine.travel(NOW, tick=False):
        yield


def makereport(*arguments: Any) -> str:
    """What the command says."""
    out = io.StringIO()
    call_command("makereport", *arguments, stdout=out)
    return out.getvalue()


def ran(at: datetime = NOW - 12 * HOUR) -> None:
    make_run(make_job(), state=State.SUCCEEDED, created_at=at, finished_at=at)


def test_by_default_it_makes_the_last_period_that_is_over_and_says_what_came_of_it() -> None:
    ran()
    assert makereport("daily_report").splitlines() == [
        "daily_report 2026-11-25: working it out …",
        "daily_report 2026-11-25 was made: Daily report 2026-11-25: 0 of 1 run failed.",
    ]
    assert makereport("weekly_report").splitlines()[0] == "weekly_report 2026-W47: working it out …"
    assert Report.objects.filter(made_by="makereport").count() == 2


def test_any_past_period_can_be_made() -> None:
    ran(datetime(2025, 12, 31, 12, tzinfo=UTC))
    assert "0 of 1 run failed" in makereport("daily_report", "--period", "2025-12-31")
    assert "0 of 1 run failed" in makereport("weekly_report", "--period", "2026-W01")
    assert not Report.objects.get(period="2025-12-31").complete


def test_one_that_is_there_stays_and_that_is_no_error() -> None:
    makereport("daily_report")
    ran()
    before = list(Report.objects.values())
    assert makereport("daily_report").splitlines()[1:] == [
        "daily_report 2026-11-25 was there already, made 2026-11-26 08:00.",
        "Say --remake to make it again.",
    ]
    assert list(Report.objects.values()) == before


def test_it_is_mailed_once_and_again_only_when_asked() -> None:
    makereport("daily_report")
    makereport("daily_report")
    makereport("daily_report", "--remake")
    assert Delivery.objects.count() == 1
    makereport("daily_report", "--remake", "--mail")
    assert Delivery.objects.count() == 2
    makereport("daily_report", "--period", "2026-11-01", "--no-mail")
    assert Delivery.objects.count() == 2


def test_an_emptier_one_is_refused_unless_forced() -> None:
    ran()
    makereport("daily_report")
    Run.objects.all().delete()
    with pytest.raises(CommandError, match="counts 1 records, and only 0 of them are left"):
        makereport("daily_report", "--remake")
    assert "was made again" in makereport("daily_report", "--remake", "--force")


def test_as_json_it_prints_nothing_but_the_data() -> None:
    ran()
    assert json.loads(makereport("daily_report", "--json")) == Report.objects.get().data
    assert json.loads(makereport("daily_report", "--json"))["runs"]["total"]["succeeded"] == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["x"], "There is no kind of report named 'x'. Kinds: daily_report, weekly_report"),
        (["daily_report", "--period", "2026-W47"], "'2026-W47' is no day, such as 2026-11-25."),
        (["weekly_report", "--period", "2026-11"], "'2026-11' is no week, such as 2026-W47."),
        (["daily_report", "--period", "2026-11-26"], "can be made from 2026-11-27 00:01 UTC on"),
        (["weekly_report", "--period", "2030-W01"], "2030-W01 is not over"),
        (["daily_report", "--force"], "--force is only for --remake."),
    ],
)
def test_errors_teach(arguments: list[str], sentence: str) -> None:
    with pytest.raises(CommandError) as caught:
        makereport(*arguments)
    assert sentence in str(caught.value)
    assert not Report.objects.exists()
