"""Alerts and deliveries in the admin: what is wrong now comes first, with what was told of it and how that went."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from hotdata.models import Alert, Delivery, Notice
from tests.builders import Staff, make_component, make_job, make_source

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]
LIST, DELIVERIES = "/admin/hotdata/alert/", "/admin/hotdata/delivery/"
MINUTE = timedelta(minutes=1)


def make_alert(kind: str = "failing", subject: str = "update", **fields: Any) -> Alert:
    now = timezone.now()
    values = {"summary": f"{subject} failed", "opened_at": now - 5 * MINUTE, "seen_at": now}
    return Alert.objects.create(kind=kind, subject=subject, **(values | fields))


def make_delivery(**fields: Any) -> Delivery:
    values = {
        "channel": "mail",
        "recipient": "ada@example.com",
        "about": "alert",
        "subject": "s",
        "text": "t",
    }
    return Delivery.objects.create(created_at=timezone.now(), **(values | fields))


def notice(alert: Alert, delivery: Delivery | None) -> Notice:
    values = {"event": "opened", "text": alert.summary, "at": timezone.now()}
    return Notice.objects.create(
        alert=alert, delivery=delivery, channel="mail", recipient="ada@example.com", **values
    )


def page(client: Client, path: str) -> str:
    return " ".join(client.get(path).content.decode().split())


def row_of(text: str, word: str) -> str:
    return next(row for row in re.findall("<tr>.*?</tr>", text) if word in row)


def test_open_alerts_come_first_and_then_those_that_were_over_last(admin_client: Client) -> None:
    now = timezone.now()
    make_alert(subject="was-1", closed_at=now - 2 * MINUTE)
    make_alert(subject="is-1")
    make_alert(subject="was-2", closed_at=now - MINUTE)
    make_alert(subject="is-2", severity=2)
    make_alert(subject="is-3", severity=2, silenced=True)
    text = page(admin_client, LIST)
    names = ["is-2", "is-1", "is-3", "was-2", "was-1"]
    assert sorted(names, key=text.index) == names


@pytest.mark.parametrize(
    ("setting", "recipient"),
    [("HOTDATA_ALERT_MAIL", "ada@example.com"), ("HOTDATA_ALERT_URLS", "json://127.0.0.1/")],
)
def test_that_nobody_is_told_is_said_while_it_is_so(
    admin_client: Client, settings: Settings, setting: str, recipient: str
) -> None:
    assert "Nobody is told of alerts" in page(admin_client, LIST)
    setattr(settings, setting, [recipient])
    assert "Nobody is told of alerts" not in page(admin_client, LIST)


@pytest.mark.parametrize(("state", "shown", "hidden"), [("open", "is-on", "was"), ("over", "was", "is-on")])
def test_alerts_are_filtered_by_whether_they_are_open(
    admin_client: Client, state: str, shown: str, hidden: str
) -> None:
    make_alert(subject="was", closed_at=timezone.now())
    make_alert(subject="is-on")
    text = page(admin_client, f"{LIST}?state={state}")
    assert f"{shown} failed" in text
    assert f"{hidden} failed" not in text


def test_alerts_are_filtered_by_kind_and_anything_else_is_refused(admin_client: Client) -> None:
    make_alert(kind="missed", subject="update")
    assert "update failed" in page(admin_client, f"{LIST}?kind=missed")
    assert "update failed" not in page(admin_client, f"{LIST}?kind=stale")
    assert admin_client.get(f"{LIST}?kind=x").status_code == 302


def test_a_row_leads_to_the_job_the_source_or_the_component_for_whom_may_see_it(
    admin_client: Client, staff: Staff
) -> None:
    job, source = make_job(name="update"), make_source(name="stock")
    make_alert()
    make_alert("stale", "stock")
    make_alert("component", "source:stock")
    make_alert("failing", "gone")
    make_source(name="redis")  # the component has the same name
    component = make_component(name="redis", state="down")
    make_alert("component", "redis")
    text = page(admin_client, LIST)
    assert f'<a href="/admin/hotdata/job/{job.pk}/change/">update</a>' in text
    assert f'<a href="/admin/hotdata/component/{component.pk}/change/">redis</a>' in text
    assert f'<a href="/admin/hotdata/source/{source.pk}/change/">stock</a>' in text
    assert f'<a href="/admin/hotdata/source/{source.pk}/change/">source:stock</a>' in text
    assert ">gone</a>" not in text
    shown = page(staff("view_alert"), LIST)
    for kind in ("job", "source", "component"):
        assert f"/hotdata/{kind}/" not in shown


def test_an_alert_shows_what_was_told_of_it_and_how_that_went(admin_client: Client) -> None:
    alert = make_alert()
    notice(alert, make_delivery(state="failed", error="550 <b>no such user</b>"))
    notice(alert, make_delivery(state="sent"))
    notice(alert, None)
    gone = make_delivery()
    notice(alert, gone)
    Delivery.objects.filter(pk=gone.pk).delete()
    text = page(admin_client, f"{LIST}{alert.pk}/change/")
    for said in (
        "Failed",
        "Sent",
        "Waits for the next message",
        "Deleted",
        "550 &lt;b&gt;no such user&lt;/b&gt;",
    ):
        assert said in text
    assert "1 not delivered" in row_of(page(admin_client, LIST), "update failed")


def test_what_is_hostile_is_shown_as_text(admin_client: Client) -> None:
    alert = make_alert(subject="<script>1</script>", summary="<script>2</script>\u202e")
    for path in (LIST, f"{LIST}{alert.pk}/change/"):
        text = page(admin_client, path)
        assert "<script>1" not in text
        assert "<script>2" not in text
        assert "\u202e" not in text


def test_what_was_given_up_is_tried_again_from_its_page(staff: Staff) -> None:
    delivery = make_delivery(state="failed", tries=50, error="refused")
    client = staff("view_delivery", "retry_delivery")
    assert "Try again" in page(client, f"{DELIVERIES}{delivery.pk}/change/")
    assert client.get(f"{DELIVERIES}{delivery.pk}/retry/").status_code == 405
    client.post(f"{DELIVERIES}{delivery.pk}/retry/")
    delivery.refresh_from_db()
    assert (delivery.state, delivery.tries) == ("waiting", 0)
    assert delivery.next_try_at is not None
    assert LogEntry.objects.get().change_message == "Try again."
    assert "Try again" not in page(client, f"{DELIVERIES}{delivery.pk}/change/")


def test_what_was_sent_is_not_sent_again(staff: Staff) -> None:
    delivery = make_delivery(state="sent")
    client = staff("view_delivery", "retry_delivery")
    answer = client.post(f"{DELIVERIES}{delivery.pk}/retry/", follow=True)
    assert "Only what was given up is tried again." in answer.content.decode()
    delivery.refresh_from_db()
    assert delivery.state == "sent"


def test_without_the_permission_nothing_is_tried_again(staff: Staff) -> None:
    delivery = make_delivery(state="failed")
    client = staff("view_delivery")
    assert client.post(f"{DELIVERIES}{delivery.pk}/retry/").status_code == 403
    client.post(DELIVERIES, {"action": "try_again", "_selected_action": str(delivery.pk)})
    delivery.refresh_from_db()
    assert delivery.state == "failed"


def test_several_are_tried_again_from_the_list(staff: Staff) -> None:
    first, second = make_delivery(state="failed"), make_delivery(state="sent")
    client = staff("view_delivery", "retry_delivery")
    keys = [str(first.pk), str(second.pk)]
    answer = client.post(DELIVERIES, {"action": "try_again", "_selected_action": keys}, follow=True)
    assert "1 is sent within seconds." in answer.content.decode()


def test_a_delivery_shows_its_text_and_no_html(admin_client: Client) -> None:
    delivery = make_delivery(text="<b>one</b>\ntwo", html="<script>alert(1)</script>")
    text = page(admin_client, f"{DELIVERIES}{delivery.pk}/change/")
    assert "&lt;b&gt;one&lt;/b&gt;" in text
    assert "alert(1)" not in text


def test_deliveries_are_found_by_what_they_are_about(admin_client: Client) -> None:
    make_delivery(subject="an alert")
    make_delivery(subject="a bill", about="statement")
    found = page(admin_client, f"{DELIVERIES}?about=statement")
    assert "a bill" in found
    assert "an alert" not in found


def test_pages_are_titled_in_the_readers_language(admin_client: Client) -> None:
    alert, delivery = make_alert(subject="<update>"), make_delivery(subject="<late>", about="report")
    of_alert, of_delivery = (
        admin_client.get(f"{path}{pk}/change/", HTTP_ACCEPT_LANGUAGE="zh-CN").content.decode()
        for path, pk in ((LIST, alert.pk), (DELIVERIES, delivery.pk))
    )
    assert '<h1>作业失败 <span class="hd-quiet">&lt;update&gt;</span></h1>' in of_alert
    assert "<h1>&lt;late&gt;</h1>" in of_delivery
    assert '<div class="readonly">报告</div>' in of_delivery
