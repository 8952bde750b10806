"""In which language people are spoken to, and that machines and records are always spoken to in English."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.core.exceptions import ValidationError
from django.template.loader import render_to_string
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import override
from pytest_django.fixtures import Settings

from hotdata import registry
from hotdata.admin.fields import SpanField
from hotdata.exceptions import BadParams, CacheUnavailable, UnknownTask
from hotdata.freshness import planner
from hotdata.freshness.outcomes import RefreshFailed
from hotdata.freshness.redis import Outage
from hotdata.freshness.refresh import refresh
from hotdata.keys import check_key
from hotdata.models import Job, Run, Source
from tests.builders import make_job, make_source

CHINESE = "zh-hans"
JOBS = "/admin/hotdata/job/"
# As a browser in China says it.
PREFERRED = {"HTTP_ACCEPT_LANGUAGE": "zh-CN,zh;q=0.9,en;q=0.8"}


def page(client: Client, **headers: Any) -> str:
    return client.get(JOBS, **headers).content.decode()


# Which language


@pytest.mark.django_db
def test_a_page_is_in_the_language_that_the_browser_prefers(admin_client: Client) -> None:
    assert '<html lang="zh-hans"' in page(admin_client, **PREFERRED)
    assert "<h1>作业</h1>" in page(admin_client, **PREFERRED)
    assert '<html lang="en' in page(admin_client)
    assert '<html lang="en' in page(admin_client, HTTP_ACCEPT_LANGUAGE="de, sw")


@pytest.mark.django_db
def test_a_language_that_was_chosen_goes_before_the_one_that_is_preferred(admin_client: Client) -> None:
    answer = admin_client.post("/i18n/setlang/", {"language": "en", "next": JOBS}, **PREFERRED)
    assert (answer.status_code, answer["Location"]) == (302, JOBS)
    assert '<html lang="en' in page(admin_client, **PREFERRED)


@pytest.mark.django_db
def test_a_language_is_chosen_by_a_post_with_a_token_only(admin_client: Client) -> None:
    admin_client.get("/i18n/setlang/", {"language": CHINESE, "next": JOBS})
    assert '<html lang="en' in page(admin_client)
    assert Client(enforce_csrf_checks=True).post("/i18n/setlang/", {"language": CHINESE}).status_code == 403


def test_the_choice_leads_nowhere_else(client: Client) -> None:
    answer = client.post("/i18n/setlang/", {"language": CHINESE, "next": "https://elsewhere.example/"})
    assert answer["Location"] == "/"


def test_the_cookie_of_the_choice_is_guarded_like_others(client: Client, settings: Settings) -> None:
    settings.LANGUAGE_COOKIE_SECURE = True
    client.post("/i18n/setlang/", {"language": CHINESE})
    cookie = client.cookies[settings.LANGUAGE_COOKIE_NAME]
    assert (cookie["secure"], cookie["httponly"], cookie["samesite"]) == (True, True, "Lax")
    assert cookie["max-age"] > timedelta(days=180).total_seconds()


# The switch


def switch(path: str = "/admin/?a=1&b=%22") -> str:
    return render_to_string("hotdata/language.html", request=RequestFactory().get(path))


def test_the_switch_is_a_form_with_a_button_for_each_language() -> None:
    with override(CHINESE):
        html = switch()
    assert '<form class="hd-language" method="post" action="/i18n/setlang/" aria-label="语言">' in html
    assert 'name="csrfmiddlewaretoken"' in html
    assert '<input type="hidden" name="next" value="/admin/?a=1&amp;b=%22">' in html
    assert html.count('<button type="submit" name="language"') == 2
    english, chinese = html.split("<button")[1:]
    assert 'value="en"' in english
    assert ">English<" in english
    assert "aria-current" not in english
    assert 'value="zh-hans"' in chinese
    assert ">简体中文<" in chinese
    assert 'aria-current="true"' in chinese


@pytest.mark.urls("hotdata.api.urls")
def test_a_site_that_offers_no_choice_shows_no_switch() -> None:
    assert switch().strip() == ""


def test_a_site_with_one_language_shows_no_switch(settings: Settings) -> None:
    settings.LANGUAGES = [("en", "English")]
    assert switch().strip() == ""


# What people read


def problems(row: Any) -> dict[str, list[str]]:
    with pytest.raises(ValidationError) as refused:
        row.clean()
    return dict(refused.value.message_dict)


def job(**fields: Any) -> Job:
    return Job(**({"name": "prices", "task": "refresh_due", "cron": "* * * * *"} | fields))


def source(**fields: Any) -> Source:
    return Source(**({"name": "stock", "base_url": "https://a.example", "path": "/{key}"} | fields))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("row", "field", "message"),
    [
        (lambda: job(cron="* * * *"), "cron", "表达式有 4 个字段；应当正好是五个：分 时 日 月 星期。"),
        (
            lambda: job(cron="60 * * * *"),
            "cron",
            "“60”作为分钟字段无效；可以是 0-59，以及列表、范围和步长。",
        ),
        (lambda: job(time_zone="Mars"), "time_zone", "没有名为“Mars”的时区；时区名称形如 Europe/Berlin。"),
        (lambda: job(task="sell"), "task", "没有注册名为 'sell' 的任务。已注册："),
        (lambda: job(params={"x": 1}), "params", "refresh_due 没有参数 'x'；它接受：seconds。"),
        (lambda: job(retry_delay=timedelta(days=1)), "retry_delay_max", "最长重试延迟短于首次重试延迟。"),
        (lambda: job(paused_until=timezone.now()), "paused_until", "作业没有暂停。"),
        (lambda: source(base_url="ftp://a.example"), "base_url", "URL 必须以 https:// 开头，而不是 ftp。"),
        (
            lambda: source(base_url="https://10.0.0.1"),
            "base_url",
            "10.0.0.1 不是公共互联网上的地址。HOTDATA_ALLOW_PRIVATE 中没有列出 10.0.0.1:443。",
        ),
        (lambda: source(path="/all"), "path", "路径或查询中必须有 {key} 或其他占位符。"),
        (lambda: source(headers={"Host": "x"}), "headers", "不能设置 Host：它由 hotdata 自己设置。"),
        (lambda: source(windows="9-17"), "windows", "'9-17' 不是时段；"),
        (lambda: source(bounds={"price": [2, 1]}), "bounds", "'price' 的最小值大于最大值。"),
        (lambda: source(value="["), "value", "这不是 JMESPath 表达式："),
        (lambda: source(soft_ttl=timedelta(days=9)), "hard_ttl", "条目的保留时长不能短于新鲜时长。"),
        (lambda: source(timeout=timedelta(0)), "timeout", "至少要有 0.001 秒。"),
    ],
)
def test_what_a_form_refuses_is_told_in_the_readers_language(
    row: Callable[[], Any], field: str, message: str
) -> None:
    with override(CHINESE):
        told = problems(row())
    assert told[field][0].startswith(message)


def test_errors_that_pages_show_are_in_the_readers_language() -> None:
    outage = Outage()
    with override(CHINESE):
        with pytest.raises(ValueError, match="键中不能有 '/'。"):
            check_key("a/b")
        with pytest.raises(BadParams, match="参数必须是 JSON 对象，而不是 list。"):
            registry.tasks.get("refresh_due").validate([])
        with pytest.raises(UnknownTask, match="没有注册名为 'sell' 的取数函数。已注册：无。"):
            registry.Registry("fetcher").get("sell")
        assert str(outage.note(ConnectionRefusedError())) == "无法连接 Redis（ConnectionRefusedError）。"
        with pytest.raises(CacheUnavailable, match="无法连接 Redis：它刚才没有应答。"):
            outage.check()


@pytest.mark.parametrize("language", [language for language, _name in settings.LANGUAGES])
def test_durations_are_read_again_as_they_are_shown(language: str) -> None:
    field = SpanField()
    shown = timedelta(days=1, hours=2, minutes=3, seconds=4, milliseconds=5)
    with override(language):
        assert field.clean(field.prepare_value(shown)) == shown
        assert field.clean(field.prepare_value(timedelta(0))) == timedelta(0)
    with override(CHINESE):
        assert field.prepare_value(shown) == "1 天 2 小时 3 分钟 4 秒 5 毫秒"


@pytest.mark.django_db
def test_parameters_of_tasks_are_named_in_the_readers_language(admin_client: Client) -> None:
    asked = {"task": "warm_up"}
    assert "Days ahead:" in admin_client.get("/admin/hotdata/job/params/", asked).content.decode()
    assert "提前天数:" in admin_client.get("/admin/hotdata/job/params/", asked, **PREFERRED).content.decode()


def test_what_tasks_do_is_told_in_the_readers_language() -> None:
    task = registry.tasks.get("refresh_source")
    assert task.description == "Refresh a source's hot set, or the given keys of it."
    with override(CHINESE):
        assert task.description == "刷新一个数据源的热集，或其中指定的键。"


@pytest.mark.django_db
@pytest.mark.usefixtures("clear_cache")
def test_a_plan_gives_its_reasons_in_the_language_of_who_reads_it() -> None:
    shown = make_source(pinned=("AAPL",), windows="09:30-16:00 America/New_York mon")
    sunday = timezone.now().replace(year=2026, month=11, day=22)
    with override(CHINESE):
        planned = planner.plan(shown, sunday).keys[0]
        assert planned.why == "休息至 星期一 09:30 America/New_York（刷新时段）"
    assert planned.why == "rests until Mon 09:30 America/New_York (refresh window)"


# What machines read, and what is kept


@pytest.mark.django_db
@pytest.mark.usefixtures("clear_cache")
def test_json_is_in_english_whatever_a_browser_prefers(admin_client: Client) -> None:
    make_job(name="prices", cron="0 9 * * mon-fri")
    make_source(name="stock", pinned=("AAPL",))

    def get(path: str) -> Any:
        return admin_client.get(path, **PREFERRED).json()

    assert get("/api/hot/stock/a%2Fb")["error"] == "A key can't contain '/'."
    assert get("/api/hot/stock?key=a/b")["errors"] == {"a/b": "A key can't contain '/'."}
    assert get("/api/freshness/stock/plan")["keys"][0]["why"] == "not fetched yet"
    assert get(reverse("hotdata:scheduled-jobs"))[0]["trigger"] == "At 09:00, Monday through Friday"
    refused = admin_client.post(
        reverse("hotdata:trigger-job", args=["prices"]),
        {"params": {"x": 1}},
        content_type="application/json",
        **PREFERRED,
    )
    assert refused.json()["error"] == "refresh_due has no parameter 'x'; it takes: seconds."


@pytest.mark.django_db
@pytest.mark.usefixtures("clear_cache")
def test_what_a_refresh_puts_on_record_is_in_english_whoever_waits_for_it() -> None:
    asked = make_source(pinned=())
    with override(CHINESE), pytest.raises(RefreshFailed) as failed:
        refresh(asked, ["a/b"])
    assert failed.value.result.failed == {"a/b": "UpstreamForbidden: A key can't contain '/'."}


@pytest.mark.django_db
@pytest.mark.usefixtures("clear_cache")
def test_the_log_of_actions_is_in_english_whoever_acts(admin_client: Client) -> None:
    edited = make_job(name="prices")
    stock = make_source(name="stock", pinned=())
    for url in (f"{JOBS}{edited.pk}/run/", f"{JOBS}{edited.pk}/pause/", f"{JOBS}{edited.pk}/resume/"):
        admin_client.post(url, **PREFERRED)
    admin_client.post(f"/admin/hotdata/source/{stock.pk}/pin/", {"key": "AAPL"}, **PREFERRED)
    run = Run.objects.get()
    admin_client.post(f"/admin/hotdata/run/{run.pk}/cancel/", **PREFERRED)
    assert list(LogEntry.objects.order_by("pk").values_list("change_message", flat=True)) == [
        f"Run now: run {run.pk}.",
        "Paused.",
        "Resumed.",
        "Pinned AAPL.",
        "Cancelled.",
    ]


@pytest.mark.django_db
def test_reasons_and_names_of_what_is_kept_are_in_english() -> None:
    with override(CHINESE):
        edited = make_job(name="prices")
        run = edited.request_run("manual", by="ada")
        edited.delete()
        run.refresh_from_db()
    assert run.reason == "Its job was deleted."
