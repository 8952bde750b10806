"""Tokens of the API in the admin: shown once, made for oneself, revoked, and found."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from hotdata.models import ApiToken, TokenUsage
from tests.builders import Staff, bearer, make_token

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

LIST = reverse("admin:hotdata_apitoken_changelist")
ADD = reverse("admin:hotdata_apitoken_add")
SECRET = re.compile(r"hd_[0-9a-f]{8}_[0-9a-f]{64}")


def make(client: Client, **fields: Any) -> Any:
    return client.post(ADD, {"name": "ci"} | fields)


def page(token: ApiToken) -> str:
    return reverse("admin:hotdata_apitoken_change", args=[token.pk])


def revoke(client: Client, token: ApiToken) -> Any:
    return client.post(reverse("admin:hotdata_apitoken_revoke", args=[token.pk]))


def secret_on(answer: Any) -> str:
    (secret,) = SECRET.findall(answer.content.decode())
    return secret


def names(answer: Any) -> set[str]:
    return {token.name for token in answer.context["cl"].result_list}


# Made


def test_a_token_is_shown_once_in_the_answer_to_the_form(staff: Staff) -> None:
    client = staff("add_apitoken", "view_apitoken", "view_job")
    answer = make(client, read_only="on")
    assert answer.status_code == 200
    secret = secret_on(answer)
    token = ApiToken.objects.with_secret(secret)
    assert token is not None
    assert (token.name, token.user.username, token.created_by, token.read_only) == ("ci", "ada", "ada", True)
    assert Client().get("/admin/scheduled-jobs", headers=bearer(secret)).status_code == 200
    for again in (LIST, page(token), reverse("admin:hotdata_apitoken_history", args=[token.pk]), ADD):
        assert not SECRET.search(client.get(again).content.decode()), again


def test_what_shows_a_token_is_kept_nowhere(staff: Staff) -> None:
    answer = make(staff("add_apitoken"))
    assert "no-store" in answer["Cache-Control"]
    secret = secret_on(answer).rpartition("_")[2]
    kept = [*map(str, LogEntry.objects.values()), *(str(s.get_decoded()) for s in Session.objects.all())]
    assert LogEntry.objects.count() == 1
    assert not any(secret in text for text in kept)
    assert not any(secret in str(cookie) for cookie in answer.cookies.values())


def test_a_form_that_is_sent_again_makes_no_other_token(staff: Staff) -> None:
    client = staff("add_apitoken")
    make(client)
    answer = make(client)
    assert "already exists" in answer.content.decode()
    assert not SECRET.search(answer.content.decode())
    assert ApiToken.objects.count() == 1


def test_an_expiry_is_one_of_the_sites_zone(staff: Staff) -> None:
    with timezone.override("Asia/Shanghai"):
        make(staff("add_apitoken"), expires_at_0="2999-01-31", expires_at_1="09:30:00")
    assert ApiToken.objects.get().expires_at == datetime(2999, 1, 31, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "a b"},
        {"name": "a\r\nSet-Cookie: x"},
        {"name": "<script>"},
        {"name": "x" * 51},
        {"name": "a\x00"},
        {"expires_at_0": "2020-01-01", "expires_at_1": "00:00"},
        {"expires_at_0": "soon", "expires_at_1": "00:00"},
    ],
)
def test_what_makes_no_sense_is_refused_at_the_form(staff: Staff, fields: dict[str, str]) -> None:
    answer = make(staff("add_apitoken"), **fields)
    assert answer.status_code == 200
    assert answer.context["errors"]
    assert not ApiToken.objects.exists()


# For whom


def test_only_a_superuser_makes_a_token_for_somebody_else(staff: Staff) -> None:
    root = User.objects.create_superuser("root")
    client = staff("add_apitoken", "change_apitoken", "view_apitoken")
    assert 'name="user"' not in client.get(ADD).content.decode()
    for number, user in enumerate(("root", str(root.pk))):
        make(client, name=f"t{number}", user=user, user_id=user, created_by=user)
    assert {(token.user.username, token.created_by) for token in ApiToken.objects.all()} == {("ada", "ada")}


def test_a_superuser_makes_one_for_whom_they_name_or_for_themselves(admin_client: Client) -> None:
    User.objects.create(username="robot")
    assert 'value="root"' in admin_client.get(ADD).content.decode()
    make(admin_client, name="theirs", user="robot")
    make(admin_client, name="mine", user="root")
    made = dict(ApiToken.objects.values_list("name", "user__username"))
    assert made == {"theirs": "robot", "mine": "root"}
    assert set(ApiToken.objects.values_list("created_by", flat=True)) == {"root"}


@pytest.mark.parametrize("user", ["", "nobody", "idle", "1"])
def test_a_token_for_nobody_is_refused(admin_client: Client, user: str) -> None:
    User.objects.create(username="idle", is_active=False)
    assert make(admin_client, user=user).context["errors"]
    assert not ApiToken.objects.exists()


@pytest.mark.parametrize("permission", ["view_apitoken", "change_apitoken", "delete_apitoken"])
def test_no_other_permission_makes_one(staff: Staff, permission: str) -> None:
    client = staff(permission)
    assert client.get(ADD).status_code == make(client).status_code == 403
    assert not ApiToken.objects.exists()


# Looked at, and never changed


@pytest.mark.parametrize("path", ["change", "delete"])
def test_nobody_changes_or_deletes_one(admin_client: Client, path: str) -> None:
    token = make_token()
    before = ApiToken.objects.values().get()
    address = reverse(f"admin:hotdata_apitoken_{path}", args=[token.pk])
    fields = {"post": "yes", "name": "other", "read_only": "on", "expires_at_0": "2999-01-01", "user": "root"}
    assert admin_client.post(address, fields).status_code == 403
    admin_client.post(LIST, {"action": "delete_selected", "_selected_action": token.pk, "post": "yes"})
    assert ApiToken.objects.values().get() == before


def test_a_page_tells_all_that_is_known_of_a_token(admin_client: Client) -> None:
    token = make_token(read_only=True)
    now = timezone.now()
    read = [(0, "ci", "a", 1200), (29, "ci", "b", 34), (31, "ci", "a", 9), (0, "other", "a", 9)]
    for days, name, source, reads in read:
        day = timezone.localdate() - timedelta(days=days)
        TokenUsage.add([TokenUsage(day=day, token=name, source=source, reads=reads, failed_reads=1)])
    token.revoke(by="eve", now=now)
    shown = admin_client.get(page(token)).content.decode()
    for text in ("robot", token.shown_prefix, "Revoked", "eve", "1,234, of which 2 got no value", "never"):
        assert text in shown, text
    assert token.hash not in shown


def test_the_list_says_in_which_state_each_is(admin_client: Client) -> None:
    now = timezone.now()
    make_token(name="good")
    make_token(name="short", expires_at=now + timedelta(minutes=1))
    make_token(name="gone").revoke(by="root", now=now)
    make_token(name="orphan", username="idle")
    User.objects.filter(username="idle").delete()
    with time_machine.travel(now + timedelta(minutes=2), tick=False):
        admin_client.force_login(User.objects.get(username="root"))
        shown = admin_client.get(LIST).content.decode()
        for text in ("Valid", "Expired", "Revoked", "User gone or inactive"):
            assert text in shown
        assert names(admin_client.get(f"{LIST}?state=valid")) == {"good"}
        assert names(admin_client.get(f"{LIST}?state=over")) == {"short", "gone", "orphan"}
        assert admin_client.get(f"{LIST}?state=x").status_code == 302


def test_a_token_that_leaked_is_found_by_what_it_begins_with(admin_client: Client) -> None:
    token, _other = make_token(), make_token(name="other", username="eve")
    for query in (token.secret, token.shown_prefix, f"hd_{token.prefix}", token.prefix, "robot", "ci"):
        assert names(admin_client.get(LIST, {"q": query})) == {"ci"}, query


def test_a_user_with_tokens_can_be_deleted_and_the_tokens_stay(admin_client: Client) -> None:
    token = make_token()
    admin_client.post(reverse("admin:auth_user_delete", args=[token.user.pk]), {"post": "yes"})
    token.refresh_from_db()
    assert token.user is None
    assert admin_client.get(page(token)).status_code == admin_client.get(LIST).status_code == 200


# Revoked


def test_a_token_is_revoked_in_the_name_of_who_did_it(staff: Staff) -> None:
    token, client = make_token(), staff("view_apitoken", "change_apitoken")
    assert "/revoke/" in client.get(page(token)).content.decode()
    assert revoke(client, token).url == page(token)
    token.refresh_from_db()
    assert token.revoked_by == "ada"
    entry = LogEntry.objects.get()
    assert (entry.user.username, entry.change_message, entry.object_id) == ("ada", "Revoked.", str(token.pk))
    assert "/revoke/" not in client.get(page(token)).content.decode()
    revoke(client, token)
    assert LogEntry.objects.count() == 1


def test_several_are_revoked_at_once(staff: Staff) -> None:
    tokens = [make_token(name=name) for name in ("a", "b", "c")]
    client = staff("change_apitoken")
    form = {"action": "revoke_selected", "_selected_action": [tokens[0].pk, tokens[2].pk]}
    for _ in range(2):
        client.post(LIST, form)
    assert set(ApiToken.objects.valid(timezone.now())) == {tokens[1]}
    assert LogEntry.objects.count() == 2


@pytest.mark.parametrize("permissions", [["view_apitoken"], ["view_apitoken", "add_apitoken"], []])
def test_who_may_not_revoke_does_not(staff: Staff, permissions: list[str]) -> None:
    token, client = make_token(), staff(*permissions)
    assert revoke(client, token).status_code == 403
    client.post(LIST, {"action": "revoke_selected", "_selected_action": token.pk})
    assert client.get(reverse("admin:hotdata_apitoken_revoke", args=[token.pk])).status_code == 405
    assert ApiToken.objects.valid(timezone.now()).exists()


def test_a_revocation_needs_the_token_of_its_form(staff: Staff) -> None:
    token = make_token()
    assert revoke(staff("view_apitoken", "change_apitoken", check_csrf=True), token).status_code == 403
    assert ApiToken.objects.valid(timezone.now()).exists()
