"""Patience: what takes too long ends, and what comes after it may take its time again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import OperationalError, connection, transaction

from hotdata.observing.patience import at_most

pytestmark = pytest.mark.django_db(transaction=True)

LONG = """
    WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < %s) SELECT COUNT(*) FROM number
"""


def count_to(number: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(LONG, [number])
        return int(cursor.fetchone()[0])


def take_long() -> None:
    """Take minutes, with a few bytes of memory."""
    count_to(10**9)


def test_a_statement_that_takes_too_long_ends() -> None:
    with pytest.raises(OperationalError), at_most(timedelta(milliseconds=50)):
        take_long()


def test_what_comes_after_it_may_take_longer() -> None:
    with pytest.raises(OperationalError), at_most(timedelta(milliseconds=1)):
        take_long()
    assert count_to(300_000) == 300_000
    with at_most(timedelta(seconds=30)):
        assert count_to(300_000) == 300_000


def test_a_transaction_around_it_goes_on() -> None:
    with transaction.atomic():
        with pytest.raises(OperationalError), at_most(timedelta(milliseconds=50)):
            take_long()
        assert count_to(10) == 10
