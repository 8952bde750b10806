from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from hotdata.freshness import meters
from hotdata.freshness.meters import Served
from tests.builders import Staff, caches_at, make_source, store
from tests.freshness.hostile import closed_port

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

PATH = "/api/freshness/stock"


@pytest.fixture(autouse=True)
def _source() -> None:
    make_source(name="stock", pinned=("AAPL",), objective_age=timedelta(minutes=1))


def refused(answer: Any, status: int) -> str:
    """The error of a refusal, after a look at its form."""
    assert answer.status_code == status
    assert answer["Content-Type"] == "application/json; charset=utf-8"
    assert answer.json().keys() == {"error"}
    return answer.json()["error"]


def test_staff_see_how_fresh_a_source_is(staff: Staff) -> None:
    store(age=30)
    meters.note("stock", Served.FRESH, 10.0)
    meters.flush()
    answer = staff("view_source").get(PATH)
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/json; charset=utf-8"
    told = answer.json()
    assert (told["source"], told["reads"], told["shares"]["fresh"]) == ("stock", 1, 1.0)
    assert told["oldest_hot_key"]["key"] == "AAPL"
    assert told["objective"]["met_share"] == 1.0


@pytest.mark.parametrize("hours", [1, 2, 48, 49, 24 * 90])
def test_any_number_of_hours_that_are_on_record_can_be_asked_for(staff: Staff, hours: int) -> None:
    told = staff("view_source").get(PATH, {"hours": hours}).json()
    since, until = (datetime.fromisoformat(told[name]) for name in ("since", "until"))
    assert abs(until - since - timedelta(hours=hours)) <= timedelta(hours=1)


def test_records_that_are_kept_longer_can_be_asked_for(staff: Staff, settings: Any) -> None:
    settings.HOTDATA_RETENTION = {"freshness": 1}
    client = staff("view_source")
    assert client.get(PATH, {"hours": 24}).status_code == 200
    assert "at most 24" in refused(client.get(PATH, {"hours": 25}), 400)


@pytest.mark.parametrize("hours", ["0", "-1", "2161", "1.5", "", "many", "9" * 5000, "nan", "\x00"])
def test_hours_that_make_no_sense_are_400(staff: Staff, hours: str) -> None:
    assert refused(staff("view_source").get(PATH, {"hours": hours}), 400).startswith("hours: ")


def test_who_is_not_staff_is_401_and_who_may_not_is_403(staff: Staff) -> None:
    refused(Client().get(PATH), 401)
    assert "hotdata.view_source" in refused(staff("view_job").get(PATH), 403)


def test_a_user_who_is_not_staff_is_403(staff: Staff) -> None:
    refused(staff("view_source", is_staff=False).get(PATH), 403)


def test_a_source_that_does_not_exist_is_404_and_not_told_to_strangers(staff: Staff) -> None:
    refused(Client().get("/api/freshness/nothing"), 401)
    assert "'nothing'" in refused(staff("view_source").get("/api/freshness/nothing"), 404)


@pytest.mark.parametrize("path", ["", "/", "/stock/", "/stock/AAPL", "/%e5%8c%97", "/%00", "/st%20ock"])
def test_an_odd_path_is_404_in_json(client: Client, path: str) -> None:
    refused(client.get("/api/freshness" + path), 404)


def test_an_unreachable_redis_is_503_with_a_time_to_come_back(staff: Staff, settings: Any) -> None:
    client = staff("view_source")
    settings.CACHES = caches_at(f"redis://{closed_port()}/0")
    answer = client.get(PATH)
    refused(answer, 503)
    assert int(answer["Retry-After"]) > 0


def test_only_get_and_head_are_served(staff: Staff) -> None:
    client = staff("view_source")
    assert (client.head(PATH).status_code, client.head(PATH).content) == (200, b"")
    answer = client.post(PATH)
    refused(answer, 405)
    assert answer["Allow"] == "GET, HEAD"
