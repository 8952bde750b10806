"""`cleanup_logs`: what it deletes, what it keeps, what it says."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from hotdata.models import ApiCall, FreshnessHour, Run
from hotdata.models.runs import ACTIVE, FINISHED
from tests.builders import make_call, make_job, make_run

pytestmark = pytest.mark.django_db


def cleanup_logs(*arguments: str) -> str:
    """What the command says."""
    out = io.StringIO()
    call_command("cleanup_logs", *arguments, stdout=out)
    return out.getvalue()


def make_history(*ages: int) -> None:
    """A finished run, an API call and an hour of freshness of each age, in days."""
    job = make_job()
    for age in ages:
        then = timezone.now() - timedelta(days=age, minutes=1)
        make_run(job, state="succeeded", created_at=then)
        make_call(started_at=then)
        FreshnessHour.objects.create(source="stock", hour=then)


def test_what_is_older_than_the_days_is_deleted_and_counted() -> None:
    make_history(10, 29, 30, 31)
    said = cleanup_logs("--days", "30")
    assert said == "Deleted 2 runs, 2 API calls and 2 hours of freshness older than 30 days.\n"
    assert (Run.objects.count(), ApiCall.objects.count(), FreshnessHour.objects.count()) == (2, 2, 2)


def test_a_dry_run_counts_the_same_and_deletes_nothing() -> None:
    make_history(10, 31)
    said = cleanup_logs("--days", "30", "--dry-run")
    assert said == "Would delete 1 runs, 1 API calls and 1 hours of freshness older than 30 days.\n"
    assert (Run.objects.count(), ApiCall.objects.count(), FreshnessHour.objects.count()) == (2, 2, 2)


def test_without_days_the_setting_says_how_old(settings: Settings) -> None:
    settings.HOTDATA_RETENTION_DAYS = 7
    make_history(6, 8)
    assert cleanup_logs() == "Deleted 1 runs, 1 API calls and 1 hours of freshness older than 7 days.\n"


def test_a_run_that_has_not_ended_is_kept_whatever_its_age() -> None:
    job = make_job()
    long_ago = timezone.now() - timedelta(days=1000)
    for state in (*ACTIVE, *FINISHED):
        make_run(job, state=state, created_at=long_ago)
    cleanup_logs("--days", "1")
    assert set(Run.objects.values_list("state", flat=True)) == set(ACTIVE)


def test_nothing_to_delete_is_fine() -> None:
    assert cleanup_logs() == "Deleted 0 runs, 0 API calls and 0 hours of freshness older than 90 days.\n"


@pytest.mark.parametrize("days", ["0", "-1", "99999999999"])
def test_days_that_no_record_can_have_are_refused(days: str) -> None:
    make_history(10)
    with pytest.raises(CommandError, match="--days: between 1 and 36,500"):
        cleanup_logs("--days", days)
    assert Run.objects.exists()


def test_days_that_are_no_number_are_refused() -> None:
    with pytest.raises(CommandError, match="argument --days: invalid int value: 'many'"):
        cleanup_logs("--days", "many")


def test_its_help_says_what_is_kept_and_that_it_can_be_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call_command("cleanup_logs", "--help")
    said = " ".join(capsys.readouterr().out.split())
    assert "Runs that have not ended are kept whatever their age." in said
    assert "Can be stopped at any time and called again." in said
    assert "delete what is older than this (default: 90)" in said
