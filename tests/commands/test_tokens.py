"""`create_token` and `revoke_token`."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import OperationalError
from pytest_django import Settings

from hotdata.models import ApiToken
from hotdata.models.tokens import FORM
from tests.builders import make_token
from tests.commands.conftest import Manage

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 23, 6, 59, tzinfo=UTC)


@pytest.fixture(autouse=True)
def ada(db: None) -> User:
    return User.objects.create(username="ada")


def create(*arguments: str) -> tuple[str, str]:
    """What the command prints, and what it says beside that."""
    out, err = io.StringIO(), io.StringIO()
    call_command("create_token", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def refused(command: str, *arguments: str) -> str:
    """What the command says as it refuses; it has made no token and revoked none."""
    before = list(ApiToken.objects.values())
    with pytest.raises(CommandError) as refusal:
        call_command(command, *arguments, stdout=io.StringIO(), stderr=io.StringIO())
    assert list(ApiToken.objects.values()) == before
    return str(refusal.value)


def test_the_token_alone_is_printed_and_opens_what_its_user_may() -> None:
    printed, said = create("ada", "ci")
    secret = printed.removesuffix("\n")
    assert FORM.fullmatch(secret)
    token = ApiToken.objects.with_secret(secret)
    assert (token.name, token.user.username, token.created_by) == ("ci", "ada", "create_token")
    assert (token.read_only, token.expires_at) == (False, None)
    assert said == "Token ci: it may do what ada may, until it is revoked. It is shown this once:\n"
    assert secret not in said


@pytest.mark.parametrize(
    ("expires", "expected"),
    [
        ("90d", NOW + timedelta(days=90)),
        ("12 h", NOW + timedelta(hours=12)),
        ("in 5 minutes", NOW + timedelta(minutes=5)),
        ("2027-01-31", datetime(2027, 1, 30, 16, 0, tzinfo=UTC)),
        ("2027-01-31 09:30", datetime(2027, 1, 31, 1, 30, tzinfo=UTC)),
        ("2027-01-31T09:30:00+00:00", datetime(2027, 1, 31, 9, 30, tzinfo=UTC)),
    ],
)
def test_a_token_may_expire_at_a_time_of_the_site(
    settings: Settings, expires: str, expected: datetime
) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    with time_machine.travel(NOW, tick=False):
        _, said = create("ada", "ci", "--read-only", "--expires", expires)
    token = ApiToken.objects.get()
    assert (token.expires_at, token.read_only) == (expected, True)
    local = expected + timedelta(hours=8)
    assert f"may only look at what ada may, until {local:%Y-%m-%dT%H:%M:%S}+08:00." in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["eve", "ci"], "There is no user 'eve'."),
        (["\udcff", "ci"], "There is no user"),
        (["ada", "a b"], "Enter a valid “slug”"),
        (["ada", "a\r\nb"], "Enter a valid “slug”"),
        (["ada", ""], "This field cannot be blank."),
        (["ada", "x" * 51], "at most 50 characters"),
        (["ada", "ci", "--expires", "soon"], "--expires: 'soon' is no time that can be read."),
        (["ada", "ci", "--expires", "0d"], "lies in the past."),
        (["ada", "ci", "--expires", "2020-01-01"], "lies in the past."),
        (["ada", "ci", "--expires", "9999-12-31T23:59:59+00:00"], "The time is out of range."),
        (["ada", "ci", "--expires", "90x"], "is no time that can be read."),
        (["ada", "ci", "--expires", "999999999999d"], "is no time that can be read."),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(arguments: list[str], says: str) -> None:
    assert says in refused("create_token", *arguments)


def test_a_user_who_is_not_active_gets_no_token() -> None:
    User.objects.update(is_active=False)
    assert "ada is not active" in refused("create_token", "ada", "ci")


def test_a_name_is_used_once() -> None:
    make_token(name="ci").revoke(by="root", now=NOW)
    assert "already exists" in refused("create_token", "ada", "ci")


def test_a_database_that_is_locked_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise OperationalError("database is locked")

    make_token()
    monkeypatch.setattr(ApiToken, "issue", fail)
    monkeypatch.setattr(ApiToken, "revoke", fail)
    for command in (("create_token", "ada", "x"), ("revoke_token", "ci")):
        assert "The database can't be used now: database is locked" in refused(*command)


def test_a_token_is_revoked_by_its_name_once() -> None:
    token = make_token()
    out = io.StringIO()
    call_command("revoke_token", "ci", stdout=out)
    call_command("revoke_token", "ci", stdout=out)
    assert out.getvalue() == "ci is revoked.\nci was revoked already.\n"
    token.refresh_from_db()
    assert token.revoked_by == "revoke_token"


def test_who_revokes_what_there_is_not_is_told_what_there_is() -> None:
    make_token(name="old").revoke(by="root", now=NOW)
    make_token(name="website")
    assert refused("revoke_token", "web") == "There is no token named 'web'. Valid tokens: website."


@pytest.mark.django_db(transaction=True)
def test_standard_output_can_be_piped(manage: Manage) -> None:
    done = manage("create_token", "ada", "ci")
    assert done.returncode == 0
    assert FORM.fullmatch(done.stdout.removesuffix("\n"))
    assert ApiToken.objects.with_secret(done.stdout.strip()) is not None
    assert done.stderr.startswith("Token ci: ")
