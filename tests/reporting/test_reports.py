"""Making reports: once, mailed once, whoever makes them and whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from pytest_django import Settings

from hotdata.exceptions import NotOver, ReportRefused
from hotdata.models import Delivery, Report, Run
from hotdata.models.runs import State
from hotdata.reporting.kinds import DAILY, REPORTS, WEEKLY, make_missing
from hotdata.reporting.orders import Order
from hotdata.reporting.periods import Length, parse
from hotdata.reporting.reports import CATCH_UP
from tests.builders import make_job, make_run
from tests.threads import in_thread

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
PERIOD = parse("2026-11-25", Length.DAY)
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
NOW = datetime(2026, 11, 26, 2, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _somebody_to_mail_to(settings: Settings) -> None:
    settings.HOTDATA_REPORT_MAIL = ["ops@example.com", "boss@example.com"]


def ran(count: int = 1, **fields: Any) -> None:
    job = make_job()
    for _ in range(count):
        make_run(job, **({"state": State.SUCCEEDED, "finished_at": NOON, "created_at": NOON} | fields))


def make(now: datetime = NOW, **order: Any) -> Any:
    return DAILY.make(PERIOD, Order(by="root", now=now, **order))


def test_a_report_is_on_record_and_in_the_mail() -> None:
    ran()
    made = make()
    report = Report.objects.get()
    assert (made.name, made.done, made.read()) == ("daily_report 2026-11-25", True, report.data)
    assert (report.first, report.after, report.period) == (
        date(2026, 11, 25),
        date(2026, 11, 26),
        "2026-11-25",
    )
    assert (report.made_at, report.made_by, report.remade_at, report.complete) == (NOW, "root", None, True)
    assert report.records == 1
    mails = Delivery.objects.order_by("recipient")
    assert [(mail.recipient, mail.about) for mail in mails] == [
        ("boss@example.com", "report"),
        ("ops@example.com", "report"),
    ]
    assert mails[0].subject == "hotdata: Daily report 2026-11-25: 0 of 1 run failed"


def test_a_second_time_nothing_is_made_and_nothing_is_mailed() -> None:
    ran()
    make()
    before = list(Report.objects.values())
    ran()
    assert not make(now=NOW + HOUR).done
    assert list(Report.objects.values()) == before
    assert Delivery.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_of_those_who_make_it_at_once_one_does() -> None:
    ran()
    makers = [in_thread(make) for _ in range(4)]
    assert sum(maker.result(timeout=60).done for maker in makers) == 1
    assert Report.objects.count() == 1
    assert Delivery.objects.count() == 2


def dies_at(text: str) -> Callable[..., Any]:
    """What happens to a statement with `text` when the process dies before it."""

    def execute(execute: Any, sql: str, *arguments: Any) -> Any:
        if text in sql:
            raise OperationalError("the process died")
        return execute(sql, *arguments)

    return execute


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("step", ['INSERT INTO "hotdata_report"', 'INSERT INTO "hotdata_delivery"'])
def test_what_dies_half_way_leaves_neither_report_nor_mail_and_is_made_the_next_time(step: str) -> None:
    ran()
    with connection.execute_wrapper(dies_at(step)), pytest.raises(OperationalError):
        make()
    assert not Report.objects.exists()
    assert not Delivery.objects.exists()
    assert make().done
    assert Delivery.objects.count() == 2


def test_nobody_is_mailed_where_the_settings_name_nobody(settings: Settings) -> None:
    settings.HOTDATA_REPORT_MAIL = []
    make()
    assert not Delivery.objects.exists()


def test_the_mail_leads_to_the_page_where_the_settings_say_where_that_is(settings: Settings) -> None:
    make()
    assert "http" not in Delivery.objects.latest("id").text
    settings.HOTDATA_SITE_URL = "https://hot.example.com/"
    make(remake=True, mail=True)
    link = f"https://hot.example.com/admin/hotdata/report/{Report.objects.get().pk}/change/"
    mail = Delivery.objects.latest("id")
    assert link in mail.text
    assert f'<a href="{link}">' in mail.html


def test_the_mail_is_in_the_language_of_the_site(settings: Settings) -> None:
    settings.LANGUAGE_CODE = "de"
    ran(duration=timedelta(seconds=1.4))
    make()
    assert "p50 1,4" in Delivery.objects.latest("id").text


# Periods


@pytest.mark.parametrize("now", [PERIOD.start, PERIOD.end - SECOND, PERIOD.end, PERIOD.end + 59 * SECOND])
def test_a_period_that_is_not_over_is_refused(now: datetime) -> None:
    with pytest.raises(NotOver, match="can be made from 2026-11-26 00:01 UTC on"):
        make(now=now)
    assert not Report.objects.exists()


def test_the_first_report_is_of_the_last_period() -> None:
    assert [made.name for made in make_missing(DAILY, by="x", now=NOW)] == ["daily_report 2026-11-25"]
    assert [made.name for made in make_missing(WEEKLY, by="x", now=NOW)] == ["weekly_report 2026-W47"]
    assert list(make_missing(DAILY, by="x", now=NOW)) == []


def test_days_that_nobody_reported_are_made_up_for_oldest_first() -> None:
    make()
    assert [made.name for made in make_missing(DAILY, by="x", now=NOW + 3 * DAY)] == [
        "daily_report 2026-11-26",
        "daily_report 2026-11-27",
        "daily_report 2026-11-28",
    ]
    assert Delivery.objects.count() == 8


def test_after_a_long_time_only_the_latest_days_are_made_up_for() -> None:
    make()
    periods = DAILY.missing(NOW + 30 * DAY)
    assert len(periods) == CATCH_UP
    assert periods[-1].name == "2026-12-25"


# Made again


def test_made_again_it_holds_what_is_on_record_now_and_when_it_was_made_first() -> None:
    ran()
    make()
    ran()
    assert make(now=NOW + HOUR, remake=True).done
    report = Report.objects.get()
    assert (report.made_at, report.remade_at, report.remade_by, report.records) == (
        NOW,
        NOW + HOUR,
        "root",
        2,
    )
    assert report.data["runs"]["total"]["succeeded"] == 2
    assert Delivery.objects.count() == 2, "only when it was made first"


def test_made_again_it_is_mailed_if_that_is_asked_for() -> None:
    make()
    make(remake=True, mail=True)
    assert Delivery.objects.count() == 4


def test_one_that_is_there_is_mailed_once_more_as_it_is_if_that_is_asked_for() -> None:
    make()
    ran()
    made = make(mail=True)
    assert (made.done, Report.objects.get().records) == (False, 0)
    assert made.said.endswith("It is mailed once more.")
    assert Delivery.objects.count() == 4
    assert Delivery.objects.values("subject", "text").distinct().count() == 1


def test_a_report_whose_records_are_gone_stays_unless_it_is_forced() -> None:
    ran(3)
    make()
    Run.objects.all().delete()
    before = Report.objects.values().get()
    with pytest.raises(ReportRefused, match="counts 3 records, and only 0 of them are left"):
        make(remake=True)
    assert Report.objects.values().get() == before
    assert make(remake=True, force=True).done
    assert Report.objects.get().records == 0


@pytest.mark.django_db(transaction=True)
def test_a_report_is_not_replaced_by_an_emptier_one_that_was_worked_out_meanwhile() -> None:
    """Somebody else has replaced it by a fuller one since it was looked at."""
    ran()
    make()

    def fuller(execute: Any, sql: str, *arguments: Any) -> Any:
        if sql.startswith('UPDATE "hotdata_report"'):
            with connection.cursor() as cursor:
                cursor.cursor.execute("UPDATE hotdata_report SET records = 100")
        return execute(sql, *arguments)

    with connection.execute_wrapper(fuller), pytest.raises(ReportRefused):
        make(remake=True)


def test_a_report_of_what_may_have_been_deleted_says_so(settings: Settings) -> None:
    settings.HOTDATA_RETENTION = {"runs": 90}
    make(now=PERIOD.start + 90 * DAY)
    assert Report.objects.get().complete
    make(now=PERIOD.start + 90 * DAY + SECOND, remake=True)
    assert not Report.objects.get().complete


def test_usage_is_among_what_may_have_been_deleted(settings: Settings) -> None:
    settings.HOTDATA_RETENTION = dict.fromkeys(("runs", "calls", "freshness"), "forever") | {"usage": 90}
    make(now=PERIOD.start + 90 * DAY + SECOND)
    assert not Report.objects.get().complete


# Reading


@pytest.mark.parametrize("kind", REPORTS.values(), ids=REPORTS)
def test_a_report_on_record_is_read_as_it_was_made(kind: Any) -> None:
    ran()
    period = parse("2026-W48" if kind is WEEKLY else "2026-11-25", kind.length)
    kind.make(period, Order(by="x", now=NOW + 10 * DAY))
    letter = kind.read(Report.objects.get())
    assert period.name in letter.title
    assert {figure.label: figure.value for figure in letter.figures}["Runs"] == 1
