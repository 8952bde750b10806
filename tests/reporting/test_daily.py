"""The daily report, as it is read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from hotdata.models import Run, SourceUsage
from hotdata.models.runs import State
from hotdata.reporting.amounts import Amount
from hotdata.reporting.daily import Daily, collect, letter
from hotdata.reporting.letters import Letter, as_text
from hotdata.reporting.periods import Length, Period, parse
from tests.builders import make_job, make_prices, make_run

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
DAY = parse("2026-11-25", Length.DAY)


def ran(name: str = "update", at: datetime = NOON, state: State = State.SUCCEEDED, **fields: Any) -> Run:
    return make_run(make_job(name=name), state=state, created_at=at, finished_at=at, **fields)


def see(period: Period = DAY) -> Letter:
    return letter(collect(period, period.end + HOUR), period)


def labels(shown: Letter) -> list[str]:
    assert shown.chart is not None
    return [bar.label for bar in shown.chart.bars]


def test_an_empty_day_has_a_report() -> None:
    shown = see()
    assert shown.subject == "Daily report 2026-11-25: nothing ran"
    text = as_text(shown)
    for sentence in (
        "No run ended, and nothing was missed or skipped.",
        "Nothing was missed or skipped.",
        "No run failed.",
        "Nothing was read, as far as it is on record.",
        "No upstream was asked.",
    ):
        assert sentence in text


def test_the_subject_says_what_went_wrong() -> None:
    ran(state=State.FAILED)
    ran("other")
    at = {"cause": "schedule", "scheduled_for": NOON}
    ran("late", state=State.MISSED, reason="Late.", **at)
    assert see().gist == "1 of 2 runs failed, 1 missed"


@pytest.mark.parametrize(
    ("day", "hours", "unusual"),
    [
        ("2026-10-25", "25", ["02:00 +0200", "02:00 +0100"]),
        ("2026-03-29", "23", []),
    ],
)
def test_a_day_on_which_clocks_are_changed_says_so(
    settings: Settings, day: str, hours: str, unusual: list[str]
) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    shown = see(parse(day, Length.DAY))
    assert shown.intro[1] == f"The clocks were changed: this day had {hours} hours."
    assert [label for label in labels(shown) if "+" in label] == unusual
    assert ("02:00" in labels(shown)) is False


def test_a_usual_day_has_24_hours_and_says_nothing_of_clocks() -> None:
    shown = see()
    assert len(shown.intro) == 1
    assert labels(shown) == [f"{hour:02}:00" for hour in range(24)]


def test_jobs_whose_runs_are_thinned_out_are_named() -> None:
    make_run(make_job(name="check", keep_runs=1), state=State.SUCCEEDED, created_at=NOON, finished_at=NOON)
    text = as_text(see())
    assert "Runs of these jobs are thinned out, so there were more of them: check." in text


def test_what_it_cost_is_said_once_that_is_known() -> None:
    daily: Daily = collect(DAY, DAY.end + HOUR)
    assert daily.cost is None
    assert "Cost" not in as_text(letter(daily, DAY))
    priced = Daily(
        runs=daily.runs,
        reads=daily.reads,
        calls=daily.calls,
        cost=(Amount(amount=Decimal("12.50"), currency="USD"), Amount(amount=Decimal(3), currency="JPY")),
    )
    assert "12.50 USD, 3 JPY" in as_text(letter(priced, DAY))


def test_its_cost_is_worked_out_by_the_price_lists() -> None:
    make_prices("stock", tiers="first 10 free, then 0.002")
    SourceUsage.add([SourceUsage(day=DAY.first, source="stock", calls=1_011)])
    assert "Cost:           2.002 USD" in as_text(letter(collect(DAY, DAY.end + HOUR), DAY))


def test_its_clocks_are_those_of_the_site_whatever_zone_is_active(settings: Settings) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    with timezone.override("America/New_York"):
        shown = see()
    assert shown.intro[0].startswith("From 2026-11-25 00:00 CST")
    assert labels(shown)[0] == "00:00"
