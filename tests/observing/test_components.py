"""Components on record: how each was seen last, and one change for each change, whoever saw it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import DatabaseError, transaction
from django.utils import timezone

from hotdata.models import Component, ComponentChange
from hotdata.models.components import Health
from hotdata.observing.components import STALE_AFTER, Standing, record, worst_first
from hotdata.observing.health import Part, Report
from tests.threads import PATIENCE, in_thread

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)
NOW = timezone.now()


def seen(*, after: float = 0, **states: str) -> Report:
    """What a check found `after` so many seconds: the state of each component by name, and a detail of its own."""
    parts = {
        name: Part(state=Health(state), detail=f"{name} is {state} after {after:g}.")
        for name, state in states.items()
    }
    return Report(parts=parts, at=NOW + after * SECOND)


def on_record(name: str) -> tuple[str, str, float, float]:
    row = Component.objects.get(name=name)
    return row.state, row.detail, (row.since - NOW) / SECOND, (row.checked_at - NOW) / SECOND


def changes() -> list[tuple[str, str, str, str]]:
    rows = ComponentChange.objects.order_by("id").values_list("component", "before", "after", "detail")
    return list(rows)


def test_a_new_component_is_a_change() -> None:
    (change,) = record(seen(redis="ok"))
    assert (change.component, change.before, change.after, change.at) == ("redis", "", "ok", NOW)
    assert changes() == [("redis", "", "ok", "redis is ok after 0.")]
    assert on_record("redis") == ("ok", "redis is ok after 0.", 0, 0)


def test_what_stays_as_it_was_keeps_its_since_and_tells_what_was_seen_last() -> None:
    record(seen(redis="ok"))
    assert record(seen(after=10, redis="ok")) == []
    assert on_record("redis") == ("ok", "redis is ok after 10.", 0, 10)
    assert len(changes()) == 1


def test_a_change_is_on_record_once_with_what_was_seen() -> None:
    for after, state in enumerate(["ok", "down", "down", "degraded"]):
        record(seen(after=after, redis=state))
    assert changes()[1:] == [
        ("redis", "ok", "down", "redis is down after 1."),
        ("redis", "down", "degraded", "redis is degraded after 3."),
    ]
    assert on_record("redis") == ("degraded", "redis is degraded after 3.", 3, 3)


def test_a_component_that_is_gone_leaves_the_record_with_a_change() -> None:
    record(seen(database="ok", **{"source:stock": "degraded"}))
    record(seen(after=1, database="ok"))
    assert not Component.objects.filter(name="source:stock").exists()
    assert changes()[-1] == ("source:stock", "degraded", "", "")


def test_a_component_that_could_not_be_looked_at_is_not_gone() -> None:
    record(seen(database="ok", **{"source:stock": "ok"}))
    record(seen(after=1, database="down"))
    assert Component.objects.filter(name="source:stock").exists()


def test_a_check_that_was_overtaken_changes_nothing() -> None:
    record(seen(database="ok", redis="ok"))
    record(seen(after=2, database="ok", redis="down", **{"source:stock": "ok"}))
    assert record(seen(after=1, database="ok", redis="ok")) == []
    assert on_record("redis") == ("down", "redis is down after 2.", 2, 2)
    assert Component.objects.filter(name="source:stock").exists()


def test_a_check_goes_on_record_although_one_was_made_before_the_clock_was_set_back() -> None:
    record(seen(after=3600, redis="down"))
    (change,) = record(seen(after=10, redis="ok"))
    assert (change.before, change.after) == ("down", "ok")
    assert on_record("redis")[3] == 10


def test_a_record_that_fails_half_way_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    record(seen(redis="ok"))

    def fail(*args: object) -> None:
        raise DatabaseError

    monkeypatch.setattr(ComponentChange.objects, "bulk_create", fail)
    with pytest.raises(DatabaseError), transaction.atomic():
        record(seen(after=1, redis="down", database="ok"))
    assert on_record("redis") == ("ok", "redis is ok after 0.", 0, 0)
    assert not Component.objects.filter(name="database").exists()


@pytest.mark.django_db(transaction=True)
def test_two_checks_at_once_make_one_change() -> None:
    for number, state in enumerate(["ok", "down", "ok", "degraded", "ok"]):
        found = [seen(after=number + part / 10, database="ok", redis=state) for part in range(4)]
        for recorded in [in_thread(lambda report=report: record(report)) for report in found]:
            recorded.result(PATIENCE)
        assert on_record("redis")[0] == state
    assert [after for name, _, after, _ in changes() if name == "redis"] == [
        "ok",
        "down",
        "ok",
        "degraded",
        "ok",
    ]
    assert [after for name, _, after, _ in changes() if name == "database"] == ["ok"]


# How they stand


def standings(after: float) -> dict[str, str]:
    now = NOW + after * SECOND
    return {row.name: row.standing for row in worst_first(Component.objects.all(), now)}


def test_the_worst_come_first_and_then_the_names_count() -> None:
    record(seen(b="ok", a="ok", d="degraded", x="down", c="down"))
    assert list(standings(1)) == ["c", "x", "d", "a", "b"]


def test_what_was_checked_long_ago_is_not_known_whatever_it_was() -> None:
    record(seen(a="ok", x="down"))
    record(seen(after=2, x="down", b="ok"))
    after = STALE_AFTER / SECOND + 1
    assert standings(after) == {"x": Standing.DOWN, "a": Standing.UNKNOWN, "b": Standing.OK}
    assert list(standings(after)) == ["x", "a", "b"]
    assert set(standings(3600).values()) == {Standing.UNKNOWN}


def test_what_was_checked_in_the_future_is_not_known() -> None:
    record(seen(after=3600, a="ok"))
    assert standings(0) == {"a": Standing.UNKNOWN}
