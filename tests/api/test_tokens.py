"""Who asks the API with a token: what it opens, what refuses it, and that nothing else opens with it."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db import OperationalError
from django.test import Client, RequestFactory
from django.utils import timezone
from django.views.debug import ExceptionReporter
from simple_history.models import HistoricalRecords

from hotdata.api import callers
from hotdata.models import ApiToken, Job, Run
from tests.builders import Staff, bearer, make_job, make_source, make_token, store

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clear_cache")]

LIST = "/admin/scheduled-jobs"
TRIGGER = "/admin/jobs/clean/trigger"
READ = "/api/hot/stock/AAPL"
WRONG = "hd_00000000_" + "0" * 64


@pytest.fixture(autouse=True)
def job() -> Job:
    return make_job(name="clean", task="cleanup_logs", params={"days": 30})


@pytest.fixture
def entry(clear_cache: None) -> None:
    make_source(name="stock", pinned=("AAPL",))
    store(value=7, hash="1a2b")


def ask(token: Any, path: str = LIST, **options: Any) -> Any:
    return Client(enforce_csrf_checks=True).get(path, headers=bearer(token), **options)


def trigger(token: Any, client: Client | None = None, body: Any = None) -> Any:
    client = client or Client(enforce_csrf_checks=True)
    return client.post(TRIGGER, body, content_type="application/json", headers=bearer(token))


def refused(answer: Any, status: int = 401, error: str | None = "invalid_token") -> str:
    """What a refusal says, after a look at its form and at what was not started."""
    assert answer.status_code == status
    assert answer.json().keys() == {"error"}
    assert answer["Cache-Control"] == "no-store"
    if error:
        expected = f'Bearer realm="hotdata", error="{error}", error_description="{answer.json()["error"]}"'
        assert answer["WWW-Authenticate"] == expected
    assert not Run.objects.exists()
    return answer.json()["error"]


# What a token opens


def test_a_token_may_what_its_user_may_who_need_not_be_staff() -> None:
    token = make_token("view_job", "run_job")
    assert ask(token).status_code == 200
    assert trigger(token).status_code == 202, "a token needs no CSRF token"


def test_a_run_is_on_record_in_the_name_of_the_user_and_the_token() -> None:
    trigger(make_token("run_job"))
    assert Run.objects.get().requested_by == "robot (token ci)"


def test_an_edit_is_on_record_in_the_name_of_the_user_and_the_token(job: Job, rf: RequestFactory) -> None:
    """As `HistoryRequestMiddleware` has it, which knows the request and not who it turns out to be from."""
    request = rf.get("/", headers=bearer(make_token()))
    callers.identify(request)
    HistoricalRecords.context.request = request
    try:
        job.title = "x"
        job.save()
    finally:
        del HistoricalRecords.context.request
    assert job.history.latest().history_user == "robot (token ci)"


def test_the_scheme_is_read_in_any_case() -> None:
    secret = make_token("view_job").secret
    for header in (f"bearer {secret}", f"BEARER   {secret} "):
        assert Client().get(LIST, headers={"Authorization": header}).status_code == 200


def test_a_token_without_the_permission_is_403() -> None:
    token = make_token("view_job")
    assert "hotdata.run_job" in refused(trigger(token), 403, None)
    assert "hotdata.view_source" in refused(ask(token, "/api/freshness/stock"), 403, None)


def test_a_permission_that_is_taken_from_the_user_is_taken_from_the_token() -> None:
    token = make_token("view_job")
    User.objects.get(username="robot").user_permissions.clear()
    refused(ask(token), 403, None)


def test_a_superusers_token_may_everything_but_what_it_was_denied_itself() -> None:
    token = make_token("run_job", read_only=True)
    User.objects.update(is_superuser=True)
    assert ask(token).status_code == 200
    assert refused(trigger(token), 403, None) == "This token may only read."


def test_parameters_of_ones_own_need_the_same_permission_with_a_token() -> None:
    assert trigger(make_token("run_job"), body={"params": {"days": 1}}).status_code == 403
    assert (
        trigger(make_token("run_job", "change_job", name="b"), body={"params": {"days": 1}}).status_code
        == 202
    )


def test_a_request_with_a_token_costs_one_query_for_it(entry: None, django_assert_num_queries: Any) -> None:
    token = make_token()
    ask(token, READ)
    with django_assert_num_queries(1):
        assert ask(token, READ).status_code == 200


def test_the_admins_pages_know_no_tokens() -> None:
    token = make_token()
    User.objects.update(is_superuser=True, is_staff=True)
    for path in ("/admin/", "/admin/hotdata/apitoken/add/"):
        answer = ask(token, path)
        assert (answer.status_code, answer.url.partition("?")[0]) == (302, "/admin/login/")


# What refuses it


@pytest.mark.parametrize(
    "sent",
    ["", " ", "x", WRONG, WRONG.upper(), "hd_", f"{WRONG}\t", "é", "\x00", f"{WRONG}, {WRONG}", "x" * 10_000],
    ids=lambda sent: repr(sent[:20]),
)
@pytest.mark.parametrize("path", [LIST, READ, "/api/hot/stock?key=AAPL", "/api/freshness/stock", "/api/hot/"])
def test_a_wrong_token_is_401_everywhere(entry: None, sent: str, path: str) -> None:
    assert refused(ask(sent, path)) == "There is no such token."


def test_who_sends_no_token_is_told_how(client: Client) -> None:
    answer = client.get(LIST)
    assert refused(answer, 401, None) == "Log in, or send a token: Authorization: Bearer …"
    assert answer["WWW-Authenticate"] == 'Bearer realm="hotdata"'


def test_a_token_is_taken_until_the_second_of_its_expiry() -> None:
    expiry = timezone.now() + timedelta(hours=1)
    token = make_token("view_job", "run_job", expires_at=expiry)
    with time_machine.travel(expiry - timedelta(milliseconds=1), tick=False):
        assert ask(token).status_code == 200
    with time_machine.travel(expiry, tick=False):
        assert refused(ask(token)) == "This token has expired."
        refused(trigger(token))


def test_a_revocation_holds_for_the_next_request() -> None:
    token = make_token("view_job", "run_job")
    assert ask(token).status_code == 200
    ApiToken.objects.get().revoke(by="root", now=timezone.now())
    assert refused(ask(token)) == "This token was revoked."
    refused(trigger(token))


@pytest.mark.parametrize(
    "end", [lambda users: users.update(is_active=False), lambda users: users.all().delete()]
)
def test_a_token_is_as_dead_as_its_user(end: Any) -> None:
    token = make_token("view_job", "run_job")
    end(User.objects)
    assert refused(ask(token)) == "The user of this token is gone or not active."
    refused(trigger(token))


# With a session beside it


def test_a_wrong_token_does_not_fall_back_to_the_session(staff: Staff) -> None:
    client = staff("view_job", "run_job")
    refused(client.get(LIST, headers=bearer(WRONG)))
    refused(trigger(WRONG, client))


def test_a_token_is_not_helped_by_the_session(staff: Staff) -> None:
    client = staff("view_job", "run_job")
    refused(client.get(LIST, headers=bearer(make_token())), 403, None)
    refused(trigger(make_token(name="b"), client), 403, None)


@pytest.mark.parametrize(
    "header", ["", " ", "garbage", "Basic YTpi", "Token x", "Bearer\tx", "Bearers x", "\x00"]
)
def test_no_header_but_a_token_spares_a_session_its_csrf_token(staff: Staff, header: str) -> None:
    client = staff("run_job", check_csrf=True)
    answer = client.post(TRIGGER, content_type="application/json", headers={"Authorization": header})
    assert "CSRF" in refused(answer, 403, None)


@pytest.mark.parametrize("sent", ["", WRONG, "x"])
def test_nothing_that_is_sent_as_a_token_spares_a_session_its_csrf_token(staff: Staff, sent: str) -> None:
    refused(trigger(sent, staff("run_job", check_csrf=True)))


def test_other_headers_leave_a_session_what_it_is(staff: Staff) -> None:
    assert staff("view_job").get(LIST, headers={"Authorization": "Basic YTpi"}).status_code == 200


def test_a_session_must_still_be_one_of_staff(staff: Staff) -> None:
    refused(staff("view_job", is_staff=False).get(LIST), 403, None)


# Reads


def test_reads_are_public_and_a_valid_token_changes_nothing_about_the_answer(entry: None) -> None:
    public, mine = Client().get(READ), ask(make_token(), READ)
    assert (public.status_code, mine.status_code) == (200, 200)
    assert public.json()["value"] == mine.json()["value"] == 7
    assert mine["Cache-Control"].startswith("public, max-age=")
    assert "Vary" not in mine


@pytest.fixture
def closed(entry: None, settings: Any) -> None:
    """Reads need a token."""
    settings.HOTDATA_READS_NEED_TOKEN = True


@pytest.mark.parametrize("path", [READ, "/api/hot/stock?key=AAPL", "/api/hot/nothing/x"])
def test_where_reads_need_a_token_strangers_are_401(closed: None, client: Client, path: str) -> None:
    answer = client.get(path)
    assert refused(answer, 401, None) == "Reads need a token here: Authorization: Bearer …"
    assert answer["WWW-Authenticate"] == 'Bearer realm="hotdata"'


def test_where_reads_need_a_token_any_will_do(closed: None) -> None:
    assert ask(make_token(read_only=True), READ).json()["value"] == 7


def test_where_reads_need_a_token_whoever_is_logged_in_needs_none(closed: None, staff: Staff) -> None:
    client = staff(is_staff=False)
    assert client.get(READ).status_code == 200
    User.objects.update(is_active=False)
    refused(client.get(READ), 401, None)


@pytest.mark.parametrize("path", [READ, "/api/hot/stock?key=AAPL"])
def test_where_reads_need_a_token_no_cache_gives_an_answer_to_others(
    closed: None, staff: Staff, path: str
) -> None:
    for answer in (ask(make_token(), path), staff().get(path)):
        directives = answer["Cache-Control"].split(", ")
        assert directives[0] == "private"
        assert "public" not in directives
        assert {"Authorization", "Cookie"} <= set(answer["Vary"].split(", "))
        again = Client().get(path, headers={"If-None-Match": answer["ETag"]})
        refused(again, 401, None)


def test_where_reads_need_a_token_who_has_the_value_already_is_told_the_same(closed: None) -> None:
    token = make_token()
    etag = ask(token, READ)["ETag"]
    answer = Client().get(READ, headers={**bearer(token), "If-None-Match": etag})
    assert (answer.status_code, answer["Cache-Control"].split(",")[0]) == (304, "private")
    assert "Authorization" in answer["Vary"]


def test_where_reads_need_a_token_a_database_that_is_away_lets_nobody_in(
    closed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = make_token()
    monkeypatch.setattr(ApiToken.objects, "with_secret", away)
    answer = ask(token, READ)
    refused(answer, 503, None)
    assert answer["Retry-After"] == "5"


def away(*args: Any) -> None:
    raise OperationalError("the server is away")


def test_while_the_database_is_away_what_is_public_is_served_and_nothing_else(
    entry: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = make_token("view_job")
    monkeypatch.setattr(ApiToken.objects, "with_secret", away)
    assert ask(token, READ).status_code == 200
    refused(ask(token), 503, None)


# Where it must not be seen


def test_no_token_is_in_a_log(entry: None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    token = make_token("view_job")
    for sent in (token, token.secret.upper(), WRONG):
        ask(sent), ask(sent, READ)
    ApiToken.objects.get().revoke(by="root", now=timezone.now())
    ask(token)
    secret = token.secret.rpartition("_")[2]
    assert caplog.records
    assert secret not in caplog.text
    assert "0" * 64 not in caplog.text


def test_no_token_is_in_a_report_of_an_error(rf: RequestFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise RuntimeError("unexpected")

    token = make_token()
    monkeypatch.setattr(ApiToken, "state_at", fail)
    request = rf.get(LIST, headers=bearer(token))
    try:
        callers.identify(request)
    except RuntimeError as error:
        reporter = ExceptionReporter(request, type(error), error, error.__traceback__)
        report = reporter.get_traceback_html() + reporter.get_traceback_text()
    assert "unexpected" in report
    assert token.secret.rpartition("_")[2] not in report
