"""Silencing a job or a source from its page: until when and why, by whose word; and ending it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from hotdata.models import Silence
from tests.builders import Staff, make_job, make_source

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]
HOUR = timedelta(hours=1)


@pytest.fixture(params=["job", "source"])
def row(request: pytest.FixtureRequest) -> Any:
    return make_job(name="row") if request.param == "job" else make_source(name="row")


def page_of(row: Any) -> str:
    return f"/admin/hotdata/{row._meta.model_name}/{row.pk}/"


def typed(after: timedelta) -> str:
    return f"{timezone.now() + after:%Y-%m-%dT%H:%M}"


def may(staff: Staff, row: Any, *permissions: str) -> Client:
    return staff(f"view_{row._meta.model_name}", *permissions)


def text_of(client: Client, row: Any) -> str:
    return " ".join(client.get(f"{page_of(row)}change/").content.decode().split())


def test_it_is_silenced_until_then_with_a_note_and_a_name(staff: Staff, row: Any) -> None:
    client = may(staff, row, "add_silence")
    assert "Silence its alerts" in text_of(client, row)
    client.post(f"{page_of(row)}silence/", {"until": typed(2 * HOUR), "note": "We <know>."})
    silence = Silence.objects.get()
    assert (silence.of, silence.name, silence.note, silence.by) == (
        row._meta.model_name,
        "row",
        "We <know>.",
        "ada",
    )
    assert HOUR < silence.until - timezone.now() <= 2 * HOUR
    text = text_of(client, row)
    assert "Its alerts are silenced by ada until" in text
    assert "We &lt;know&gt;." in text
    assert "Silence its alerts" not in text
    assert LogEntry.objects.get().change_message == "Silenced."


@pytest.mark.parametrize("until", ["", "x", "2001-01-01T00:00", "9999-12-31T23:59", "0001-01-01T00:00"])
def test_an_end_that_is_none_is_refused_in_words(staff: Staff, row: Any, until: str) -> None:
    client = may(staff, row, "add_silence")
    answer = client.post(f"{page_of(row)}silence/", {"until": until}, follow=True)
    assert answer.status_code == 200
    if not until.startswith("9999"):
        assert "Not silenced: " in answer.content.decode()
        assert not Silence.objects.exists()


def test_a_silence_is_ended_by_who_may_change_silences(staff: Staff, row: Any) -> None:
    of = row._meta.model_name
    other = Silence.objects.create(
        of=of, name="other", until=timezone.now() + HOUR, by="bob", created_at=timezone.now()
    )
    silence = Silence.objects.create(
        of=of, name="row", until=timezone.now() + HOUR, by="bob", created_at=timezone.now()
    )
    assert "End the silence" not in text_of(may(staff, row, "add_silence"), row)
    assert may(staff, row, "add_silence").post(f"{page_of(row)}end-silence/").status_code == 403
    client = may(staff, row, "change_silence")
    assert "End the silence" in text_of(client, row)
    client.post(f"{page_of(row)}end-silence/")
    silence.refresh_from_db()
    other.refresh_from_db()
    assert (silence.ended_by, other.ended_by) == ("ada", "")
    assert "silenced by" not in text_of(client, row)


def test_without_the_permission_nobody_silences(staff: Staff, row: Any) -> None:
    client = may(staff, row, "change_silence")
    assert client.post(f"{page_of(row)}silence/", {"until": typed(HOUR)}).status_code == 403
    assert "Silence its alerts" not in text_of(client, row)
    assert not Silence.objects.exists()


def test_to_look_silences_nothing(admin_client: Client, row: Any) -> None:
    for action in ("silence", "end-silence"):
        assert admin_client.get(f"{page_of(row)}{action}/").status_code == 405


def test_several_silences_are_ended_from_the_list(staff: Staff) -> None:
    now = timezone.now()
    active = Silence.objects.create(of="job", name="a", until=now + HOUR, by="bob", created_at=now)
    over = Silence.objects.create(of="job", name="b", until=now - HOUR, by="bob", created_at=now - 2 * HOUR)
    form = {"action": "end_silences", "_selected_action": [str(active.pk), str(over.pk)]}
    staff("view_silence").post("/admin/hotdata/silence/", form)
    assert not Silence.objects.exclude(ended_at=None).exists()
    answer = staff("view_silence", "change_silence").post("/admin/hotdata/silence/", form, follow=True)
    assert "1 silence has ended." in answer.content.decode()
    assert [row.name for row in Silence.objects.exclude(ended_at=None)] == ["a"]
