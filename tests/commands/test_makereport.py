"""`makereport`: what it makes, what it says, what it refuses."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from pytest_django import Settings

from hotdata.models import Delivery, Report, Run, SourceUsage, Statement
from hotdata.models.runs import State
from tests.builders import make_job, make_prices, make_run

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
        (["x"], "There is no kind of report named 'x'. Kinds: daily_report, weekly_report, monthly_billing."),
        (["daily_report", "--period", "2026-W47"], "'2026-W47' is no day, such as 2026-11-25."),
        (["weekly_report", "--period", "2026-11"], "'2026-11' is no week, such as 2026-W47."),
        (["daily_report", "--period", "2026-11-26"], "can be made from 2026-11-27 00:01 UTC on"),
        (["weekly_report", "--period", "2030-W01"], "2030-W01 is not over"),
        (["daily_report", "--force"], "--force is only for --remake."),
        (["weekly_report", "--correct"], "--correct is only for statements (monthly_billing). Say --remake"),
        (["monthly_billing", "--remake"], "A statement stays as it was issued"),
        (["monthly_billing", "--force"], "Say --correct to issue a correction"),
        (["monthly_billing", "--period", "2026-11-25"], "'2026-11-25' is no month, such as 2026-11."),
        (["monthly_billing", "--period", "2026-11"], "2026-11 is not over"),
    ],
)
def test_errors_teach(arguments: list[str], sentence: str) -> None:
    with pytest.raises(CommandError) as caught:
        makereport(*arguments)
    assert sentence in str(caught.value)
    assert not Report.objects.exists()
    assert not Statement.objects.exists()


def test_to_mail_it_where_nobody_is_named_is_an_error(settings: Settings) -> None:
    settings.HOTDATA_REPORT_MAIL = []
    with pytest.raises(CommandError, match="HOTDATA_REPORT_MAIL names nobody"):
        makereport("daily_report", "--mail")
    makereport("daily_report")
    makereport("monthly_billing", "--no-mail")


# Statements


def use(calls: int) -> None:
    SourceUsage.add([SourceUsage(day=date(2026, 10, 15), source="stock", calls=calls)])


def test_a_statement_is_issued_and_stays() -> None:
    make_prices("stock", tiers="1")
    use(5)
    assert makereport("monthly_billing").splitlines() == [
        "monthly_billing 2026-10: working it out …",
        "Statement 2026-10/1: 5.00 USD was issued.",
    ]
    use(1)
    assert makereport("monthly_billing").splitlines()[1:] == [
        "Statement 2026-10/1 was there already, issued 2026-11-26 08:00.",
        "Say --correct to issue a correction, if what is on record now comes to something else.",
    ]
    assert Statement.objects.get().issued_by == "makereport"


def test_a_statement_is_corrected_only_where_it_would_come_to_something_else() -> None:
    make_prices("stock", tiers="1")
    makereport("monthly_billing", "--period", "2026-10")
    assert makereport("monthly_billing", "--correct").splitlines()[1:] == [
        "Statement 2026-10/1 was there already, issued 2026-11-26 08:00.",
        "What is on record now comes to the same: there is nothing to correct.",
    ]
    use(3)
    assert "Statement 2026-10/2: 3.00 USD was issued." in makereport("monthly_billing", "--correct")
    assert [str(statement) for statement in Statement.objects.order_by("id")] == ["2026-10/1", "2026-10/2"]


def test_a_statement_is_mailed_when_it_is_issued_and_again_only_when_asked() -> None:
    makereport("monthly_billing", "--no-mail")
    assert Delivery.objects.count() == 0
    assert "It is mailed once more." in makereport("monthly_billing", "--mail")
    assert "mailed" not in makereport("monthly_billing")
    assert Delivery.objects.count() == 1
    use(1)
    makereport("monthly_billing", "--correct", "--mail")
    subjects = Delivery.objects.order_by("id").values_list("subject", flat=True)
    assert list(subjects) == ["hotdata: Statement 2026-10/1", "hotdata: Statement 2026-10/2"]


def test_a_statement_as_json_has_all_its_lines_and_amounts_as_text() -> None:
    make_prices("stock", tiers="0.001")
    use(10**15)
    data = json.loads(makereport("monthly_billing", "--json"))
    assert (data["number"], data["month"], data["revision"]) == ("2026-10/1", "2026-10", 1)
    assert data["totals"] == [{"kind": "calls", "currency": "USD", "amount": "1000000000000.00"}]
    (line,) = data["lines"]
    assert (line["source"], line["count"], line["tiers"], line["amount"]) == (
        "stock",
        10**15,
        "0.001",
        "1000000000000.00",
    )
