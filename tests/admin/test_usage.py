"""Usage in the admin: days of a month, and what they come to."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
import time_machine
from django.test import Client
from pytest_django import Settings

from hotdata.models import SourceUsage, TokenUsage
from tests.builders import Staff

pytestmark = pytest.mark.django_db

SOURCES = "/admin/hotdata/sourceusage/"
TOKENS = "/admin/hotdata/tokenusage/"
NOW = datetime(2026, 11, 15, 12, tzinfo=UTC)


def use(source: str, day: str, **counts: int) -> None:
    SourceUsage.add([SourceUsage(day=date.fromisoformat(day), source=source, **counts)])


def shown(answer: Any) -> list[str]:
    return [f"{row.day:%m-%d} {row.source}" for row in answer.context["cl"].result_list]


@time_machine.travel(NOW, tick=False)
def test_the_present_month_is_shown_with_its_sums(admin_client: Client) -> None:
    use("stock", "2026-10-31", calls=999)
    use("stock", "2026-11-01", calls=1000, failed_calls=1, size=1024)
    use("stock", "2026-11-30", calls=234, size=1024)
    use("news", "2026-11-02", calls=5)
    answer = admin_client.get(SOURCES)
    assert shown(answer) == ["11-30 stock", "11-02 news", "11-01 stock"]
    assert [row["of"] for row in answer.context["sums"]] == [["stock"], ["news"]]
    assert answer.context["sums"][0]["counts"][:2] == ["1,234", "1"]
    assert answer.context["in_all"][:2] == ["1,239", "1"]


@time_machine.travel(NOW, tick=False)
def test_any_month_and_source_can_be_chosen(admin_client: Client) -> None:
    for source in ("stock", "news"):
        use(source, "2026-10-31", calls=1)
        use(source, "2020-02-29", calls=1)
    assert shown(admin_client.get(SOURCES, {"month": "2026-10"})) == ["10-31 news", "10-31 stock"]
    assert shown(admin_client.get(SOURCES, {"month": "2020-02", "source": "news"})) == ["02-29 news"]
    assert shown(admin_client.get(SOURCES, {"month": "2020-02", "q": "sto"})) == ["02-29 stock"]
    assert admin_client.get(SOURCES, {"month": "x"})["Location"].endswith("?e=1")


def test_the_present_month_is_one_of_the_sites_zone(admin_client: Client, settings: Settings) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    use("stock", "2026-12-01", calls=1)
    with time_machine.travel(datetime(2026, 11, 30, 17, tzinfo=UTC), tick=False):
        assert shown(admin_client.get(SOURCES)) == ["12-01 stock"]


@time_machine.travel(NOW, tick=False)
def test_reads_are_summed_up_by_token(admin_client: Client) -> None:
    for token in ("app", "shop"):
        for day in (1, 2):
            row = TokenUsage(day=date(2026, 11, day), token=token, source="stock", reads=3, failed_reads=1)
            TokenUsage.add([row])
    answer = admin_client.get(TOKENS)
    assert [(row["of"], row["counts"][:2]) for row in answer.context["sums"]] == [
        (["app", "stock"], ["6", "2"]),
        (["shop", "stock"], ["6", "2"]),
    ]


def test_usage_can_only_be_looked_at(admin_client: Client, staff: Staff) -> None:
    use("stock", "2026-11-01", calls=1)
    row = SourceUsage.objects.get()
    for what in ("change", "delete"):
        assert admin_client.post(f"{SOURCES}{row.pk}/{what}/", {"calls": 0, "post": "yes"}).status_code == 403
    assert staff("view_job").get(SOURCES).status_code == 403
    row.refresh_from_db()
    assert row.calls == 1
