"""Tokens of the API as rows: what is kept of them, when they are good, and that they stay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from hotdata.models import ApiToken
from hotdata.models.history import MAX_NAME
from hotdata.models.tokens import FORM
from tests.builders import make_token
from tests.threads import PATIENCE, in_thread

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
State = ApiToken.State


def test_a_token_has_a_form_that_scanners_find_and_no_two_are_alike() -> None:
    secrets = {make_token(name=f"t{number}").secret for number in range(20)}
    assert len(secrets) == 20
    assert all(FORM.fullmatch(secret) for secret in secrets)


def test_nothing_that_is_kept_is_the_secret() -> None:
    token = make_token()
    kept = ApiToken.objects.values().get()
    secret = token.secret.rpartition("_")[2]
    assert not any(secret in str(value) for value in kept.values())
    assert kept["prefix"] == token.secret.split("_")[1]
    assert not hasattr(ApiToken.objects.get(), "secret")


def test_a_token_is_found_by_its_secret_alone_and_in_one_query(django_assert_num_queries: type) -> None:
    token, other = make_token(), make_token(name="other")
    with django_assert_num_queries(1):
        found = ApiToken.objects.with_secret(token.secret)
        assert (found, found.user.username) == (token, "robot")
    assert ApiToken.objects.with_secret(other.secret) == other
    swapped = f"hd_{other.prefix}_{token.secret.rpartition('_')[2]}"
    assert ApiToken.objects.with_secret(swapped) is None


@pytest.mark.parametrize(
    "change",
    [str.upper, lambda s: s + "\n", lambda s: s[:-1], lambda s: " " + s, lambda s: "", lambda s: "x" * 9999],
)
def test_what_looks_like_no_token_costs_no_query(change: type, django_assert_num_queries: type) -> None:
    secret = make_token().secret
    with django_assert_num_queries(0):
        assert ApiToken.objects.with_secret(change(secret)) is None


def test_a_token_expires_to_the_second() -> None:
    token = make_token(expires_at=timezone.now() + timedelta(days=1))
    token.expires_at = NOW
    assert token.state_at(NOW - timedelta(microseconds=1)) == State.VALID
    assert token.state_at(NOW) == State.EXPIRED


def test_which_tokens_are_valid_is_the_same_for_one_and_for_a_list() -> None:
    now = timezone.now()
    tokens = [make_token(name=name) for name in ("good", "later", "over", "revoked", "orphan")]
    ApiToken.objects.filter(name="later").update(expires_at=now + timedelta(seconds=1))
    ApiToken.objects.filter(name="over").update(expires_at=now)
    tokens[3].revoke(by="root", now=now)
    ApiToken.objects.filter(name="orphan").update(user=None)
    make_token(name="idle", username="idle")
    User.objects.filter(username="idle").update(is_active=False)
    valid = set(ApiToken.objects.valid(now))
    assert {token.name for token in valid} == {"good", "later"}
    assert valid == {token for token in ApiToken.objects.all() if token.state_at(now) == State.VALID}


def test_a_deleted_users_tokens_are_dead_and_their_names_stay_taken() -> None:
    make_token()
    User.objects.get(username="robot").delete()
    assert ApiToken.objects.get().state_at(NOW) == State.ORPHANED
    User.objects.create(username="robot")
    assert ApiToken.objects.get().state_at(NOW) == State.ORPHANED, "another user of the same name is another"
    with pytest.raises(ValidationError, match="already exists"):
        make_token()


def test_a_revocation_is_for_good_and_keeps_who_was_first() -> None:
    token = make_token()
    assert token.revoke(by="ada", now=NOW)
    assert not ApiToken.objects.get().revoke(by="eve", now=NOW + timedelta(days=1))
    token.refresh_from_db()
    assert (token.revoked_at, token.revoked_by, token.state_at(NOW)) == (NOW, "ada", State.REVOKED)


@pytest.mark.parametrize("name", ["", "a b", "a\r\nX-Evil: 1", "ключ", "a/b", "x" * 51])
def test_a_name_is_a_plain_word(name: str) -> None:
    with pytest.raises(ValidationError):
        make_token(name=name)
    assert not ApiToken.objects.exists()


def test_a_token_that_would_be_dead_at_once_is_not_made() -> None:
    with pytest.raises(ValidationError, match="lies in the past"):
        make_token(expires_at=NOW - timedelta(days=9999))


def test_two_rows_never_have_one_secret() -> None:
    token = make_token()
    with pytest.raises(IntegrityError), transaction.atomic():
        ApiToken.objects.create(name="twin", hash=token.hash, prefix=token.prefix, created_by="x")


def test_a_signature_names_the_user_and_the_token_and_fits_into_every_record() -> None:
    assert make_token().signature == "robot (token ci)"
    long = make_token(name="t" * 50, username="u" * 150).signature
    assert len(long) == MAX_NAME
    assert long.endswith(f"u (token {'t' * 50})")


# The last use


def test_a_use_is_noted_once_a_minute() -> None:
    token = make_token()
    assert token.use_is_news(NOW)
    for seconds, noted in [(0, 0), (59, 0), (60, 60), (61, 60)]:
        ApiToken.note_use(token.pk, NOW + timedelta(seconds=seconds))
        token.refresh_from_db()
        assert token.last_used_at == NOW + timedelta(seconds=noted)
    assert not token.use_is_news(NOW + timedelta(seconds=119))
    assert token.use_is_news(NOW + timedelta(seconds=120))


@pytest.mark.django_db(transaction=True)
def test_of_many_who_note_a_use_at_the_same_time_the_row_stays_whole() -> None:
    token = make_token()
    times = [NOW + timedelta(seconds=second) for second in range(8)]
    noting = [in_thread(lambda at=at: ApiToken.note_use(token.pk, at)) for at in times]
    for future in noting:
        future.result(PATIENCE)
    token.refresh_from_db()
    assert token.last_used_at in times
