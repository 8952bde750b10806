"""Sending: each delivery once, to whoever can be reached, whatever becomes of the others."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from hotdata.models import Delivery
from hotdata.outbox import mail as mails
from hotdata.outbox import sending
from hotdata.outbox.posting import LONGEST_SUBJECT, Recipient, post, post_mail
from hotdata.outbox.sending import Sent, send_due
from tests.freshness.hostile import closed_port
from tests.outbox.mailers import send_through
from tests.outbox.servers import MailServer, Webhook
from tests.threads import eventually

pytestmark = pytest.mark.django_db(transaction=True)

State = Delivery.State
ADA, BOB = "ada@example.com", "bob@example.com"


def mail_to(*addresses: str, **fields: Any) -> list[Delivery]:
    values = {"about": "alert", "subject": "stock fails", "text": "It fails.\n", "now": timezone.now()}
    return post_mail(addresses, **(values | fields))


def push_to(place: int = 0, **fields: Any) -> Delivery:
    values = {"about": "alert", "subject": "stock fails", "text": "It fails.\n", "now": timezone.now()}
    return post(Recipient(channel=Delivery.Channel.APPRISE, name=str(place)), **(values | fields))


def only() -> Delivery:
    return Delivery.objects.get()


def make_due() -> None:
    Delivery.objects.update(next_try_at=timezone.now())


# Mail


def test_a_mail_gets_there_and_that_is_on_record(mail: MailServer) -> None:
    mail_to(ADA, html="<p>It fails.</p>")
    assert send_due() == Sent(sent=1)
    (taken,) = mail.mails
    assert (taken["Subject"], taken["To"], taken["From"]) == ("stock fails", ADA, "hotdata@localhost")
    assert [part.get_content_type() for part in taken.iter_parts()] == ["text/plain", "text/html"]
    row = only()
    assert (row.state, row.tries, row.error, row.next_try_at) == (State.SENT, 1, "", None)
    assert row.sent_at is not None


def test_what_is_sent_is_not_sent_again(mail: MailServer) -> None:
    mail_to(ADA)
    send_due()
    assert send_due() == Sent()
    assert len(mail.mails) == 1


def test_what_is_not_due_yet_waits(mail: MailServer) -> None:
    mail_to(ADA, now=timezone.now() + timedelta(minutes=5))
    assert send_due() == Sent()
    assert mail.asked == []


def test_what_a_clock_that_was_far_ahead_has_put_off_is_sent(mail: MailServer) -> None:
    mail_to(ADA, now=timezone.now() + timedelta(days=1000))
    assert send_due() == Sent(sent=1)


def test_a_mail_server_that_is_away_is_tried_again_later_and_later(
    settings: Settings, mail: MailServer
) -> None:
    mail_to(ADA)
    send_through(settings, host="127.0.0.1", port=int(closed_port().rpartition(":")[2]), timeout=5)
    for tries in (1, 2, 3):
        make_due()
        before = timezone.now()
        assert send_due() == Sent(retried=1)
        row = only()
        assert (row.state, row.tries) == (State.WAITING, tries)
        assert row.error == "The mail server can't be reached: Connection refused."
        assert row.next_try_at is not None
        assert row.next_try_at <= timezone.now() + sending.FIRST_DELAY * 2 ** (tries - 1)
        assert row.next_try_at >= before
    send_through(settings, host="127.0.0.1", port=mail.port, timeout=5)
    make_due()
    assert send_due() == Sent(sent=1)
    assert len(mail.mails) == 1


@pytest.mark.parametrize(
    ("replies", "error"),
    [
        ({"CONNECT": "421 too busy"}, "The mail server answered 421: too busy"),
        ({"CONNECT": "drop"}, "SMTPServerDisconnected: Connection unexpectedly closed"),
        ({"MAIL": "451 later"}, "The mail server answered 451: later"),
        ({"RCPT": "450 mailbox busy"}, "The mail server answered 450: mailbox busy"),
        ({"DATA": "452 disk full"}, "The mail server answered 452: disk full"),
        ({"TAKEN": "451 later"}, "The mail server answered 451: later"),
        ({"TAKEN": "drop"}, "SMTPServerDisconnected: Connection unexpectedly closed"),
    ],
)
def test_what_may_be_over_in_a_while_is_tried_again(
    mail: MailServer, replies: dict[str, str], error: str
) -> None:
    mail_to(ADA)
    mail.replies = replies
    assert send_due() == Sent(retried=1)
    assert (only().state, only().error) == (State.WAITING, error)
    mail.replies = {}
    make_due()
    assert send_due() == Sent(sent=1)
    assert (only().state, only().error) == (State.SENT, "")


@pytest.mark.parametrize(
    ("replies", "error"),
    [
        ({"RCPT": "550 no such user"}, "The mail server answered 550: no such user"),
        ({"MAIL": "553 not from you"}, "The mail server answered 553: not from you"),
        ({"DATA": "554 refused"}, "The mail server answered 554: refused"),
        ({"TAKEN": "552 too large"}, "The mail server answered 552: too large"),
    ],
)
def test_what_is_refused_for_good_is_given_up_at_once(
    mail: MailServer, replies: dict[str, str], error: str
) -> None:
    mail_to(ADA)
    mail.replies = replies
    assert send_due() == Sent(failed=1)
    row = only()
    assert (row.state, row.tries, row.error, row.next_try_at) == (State.FAILED, 1, error, None)


def test_wrong_credentials_are_tried_again_and_not_repeated(mail: MailServer, settings: Settings) -> None:
    credentials = {"username": "hotdata", "password": "pass-w0rd"}
    send_through(settings, host="127.0.0.1", port=mail.port, timeout=5, **credentials)
    mail.replies = {"EHLO": "250-here\r\n250 AUTH PLAIN", "AUTH": "535 wrong credentials"}
    mail_to(ADA)
    assert send_due() == Sent(retried=1)
    assert only().error == "The mail server answered 535: wrong credentials"


def test_one_address_that_is_refused_does_not_stop_the_others(mail: MailServer) -> None:
    mail_to(ADA, BOB)
    mail.replies = {f"RCPT {ADA}": "550 no such user"}
    assert send_due() == Sent(sent=1, failed=1)
    assert dict(Delivery.objects.values_list("recipient", "state")) == {ADA: "failed", BOB: "sent"}


def test_an_address_that_is_none_is_given_up(mail: MailServer) -> None:
    mail_to("ada\nBcc: all@example.com")
    assert send_due() == Sent(failed=1)
    assert mail.mails == []
    assert only().error.startswith("This is no mail that can be sent")


def test_after_the_last_try_it_is_given_up(mail: MailServer) -> None:
    mail_to(ADA)
    mail.replies = {"MAIL": "451 later"}
    Delivery.objects.update(tries=sending.MOST_TRIES - 1)
    assert send_due() == Sent(failed=1)
    assert (only().state, only().tries) == (State.FAILED, sending.MOST_TRIES)


def test_tries_last_for_about_a_day() -> None:
    longest = sum(
        (
            min(sending.LONGEST_DELAY, sending.FIRST_DELAY * 2 ** min(n, 20))
            for n in range(sending.MOST_TRIES - 1)
        ),
        timedelta(),
    )
    assert timedelta(hours=18) < longest / 2 < timedelta(hours=30)  # with full jitter, half of it on average


@pytest.mark.parametrize("backend", ["project.no.such.Backend", "tests.outbox.test_sending.Broken"])
def test_a_broken_backend_is_a_failed_try_that_says_nothing_of_what_it_raised(
    settings: Settings, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    send_through(settings, backend)
    mail_to(ADA)
    assert send_due() == Sent(retried=1)
    assert "in the channel" in only().error
    assert "s3cret" not in only().error + caplog.text


class Broken:
    def __init__(self, **kwargs: Any) -> None:
        raise RuntimeError("s3cret")


def test_hostile_text_stays_in_its_place(mail: MailServer) -> None:
    subject = "stock\r\nBcc: all@example.com\n\nbody\x00 \x1b[31m" + "x" * 500
    mail_to(ADA, subject=subject, text="one\x00two\ud800")
    assert send_due() == Sent(sent=1)
    (taken,) = mail.mails
    assert mail.recipients == [ADA]
    assert taken["Bcc"] is None
    assert taken["Subject"].startswith("stock Bcc: all@example.com body [31mxx")
    assert len(only().subject) == LONGEST_SUBJECT
    assert taken.get_content().strip() == "one\ufffdtwo?"


# Deadlines, and many at a time


def test_a_mail_server_that_hangs_costs_no_more_than_the_deadline(
    mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "TRY_LASTS", 0.3)
    mail.replies = {"DATA": "hang"}
    mail_to(ADA)
    assert send_due() == Sent(retried=1)
    assert only().error == "No answer within 0 s."
    mail.let_go.set()
    eventually(lambda: sending._places._value == sending.MOST_AT_ONCE)


def test_a_slow_webhook_holds_up_nobody_else(
    mail: MailServer, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "TRY_LASTS", 2)
    hook.held = True
    push_to()
    push_to()
    taken: list[datetime] = []
    monkeypatch.setitem(
        sending.CHANNELS, "mail", lambda delivery: (mails.send_mail(delivery), taken.append(timezone.now()))
    )
    mail_to(*(f"user{number}@example.com" for number in range(20)))
    before = timezone.now()
    assert send_due() == Sent(sent=20, retried=1)
    assert max(taken) - before < timedelta(seconds=2)
    assert Delivery.objects.get(state=State.WAITING, tries=1).error == "No answer within 2 s."
    assert Delivery.objects.filter(state=State.WAITING, tries=0).count() == 1  # it has a turn later
    assert len(hook.bodies) == 1


def test_a_recipient_who_hangs_takes_one_place_for_however_many_turns(
    mail: MailServer, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    with monkeypatch.context() as patched:
        patched.setattr(sending, "TRY_LASTS", 0.2)
        patched.setitem(sending.CHANNELS, "apprise", lambda delivery: released.wait(60))
        push_to()
        assert send_due() == Sent(retried=1)
        for _ in range(3):
            push_to()
            make_due()
            assert send_due() == Sent()
        assert sending._places._value == sending.MOST_AT_ONCE - 1
    released.set()
    eventually(lambda: sending._places._value == sending.MOST_AT_ONCE)
    make_due()
    assert send_due() == Sent(sent=4)


def test_while_every_place_is_taken_what_is_due_waits(mail: MailServer) -> None:
    mail_to(ADA)
    for _ in range(sending.MOST_AT_ONCE):
        sending._places.acquire()
    try:
        assert send_due() == Sent()
        assert only().state == State.WAITING
    finally:
        for _ in range(sending.MOST_AT_ONCE):
            sending._places.release()
    assert send_due() == Sent(sent=1)


def test_one_recipient_gets_messages_in_the_order_of_posting(mail: MailServer) -> None:
    for number in range(5):
        mail_to(ADA, subject=f"number {number}")
    assert send_due() == Sent(sent=5)
    assert [taken["Subject"] for taken in mail.mails] == [f"number {number}" for number in range(5)]


def test_who_is_told_to_stop_begins_nothing(mail: MailServer) -> None:
    mail_to(ADA)
    assert send_due(lambda: False) == Sent()
    assert only().tries == 0


def test_two_senders_at_once_send_each_delivery_once(mail: MailServer) -> None:
    mail_to(*(f"user{number}@example.com" for number in range(10)))
    barrier = threading.Barrier(3)
    came_to: list[Sent] = []

    def sender() -> None:
        try:
            barrier.wait(10)
            came_to.append(send_due())
        finally:
            connection.close()

    threads = [threading.Thread(target=sender) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(sent.sent for sent in came_to) == 10
    assert sorted(mail.recipients) == sorted(f"user{number}@example.com" for number in range(10))


# Claims


def test_a_claim_is_one_senders() -> None:
    (delivery,) = mail_to(ADA)
    another = only()
    now = timezone.now()
    assert delivery.claim(now)
    assert not another.claim(now)
    assert not only().claim(now)


def test_a_claim_that_has_ended_is_taken_over_and_the_first_ones_word_counts_no_more() -> None:
    (delivery,) = mail_to(ADA)
    delivery.claim(timezone.now() - timedelta(minutes=6))
    later = only()
    assert later.claim(timezone.now())
    assert not delivery.succeed(timezone.now())
    assert not delivery.fail("late", retry_at=None)
    assert (only().state, only().error) == (State.SENDING, "")
    assert later.succeed(timezone.now())
    assert only().state == State.SENT


def test_a_sender_that_is_killed_in_the_middle_loses_nothing(
    mail: MailServer, child_environment: dict[str, str]
) -> None:
    mail_to(ADA)
    mail.replies = {"DATA": "hang"}
    script = "import django; django.setup()\nfrom hotdata.outbox.sending import send_due\nsend_due()\n"
    environment = child_environment | {"EMAIL_URL": f"smtp://127.0.0.1:{mail.port}"}
    with subprocess.Popen(
        [sys.executable, "-c", script], env=environment, cwd=Path(__file__).parents[2]
    ) as process:
        eventually(lambda: "DATA" in mail.asked)
        os.kill(process.pid, signal.SIGKILL)
    assert (only().state, only().tries) == (State.SENDING, 1)
    assert send_due() == Sent()  # it may still be under way
    mail.replies = {}
    make_due()
    assert send_due() == Sent(sent=1)
    assert len(mail.mails) == 1


def test_what_was_given_up_can_be_tried_again_and_nothing_else_can(mail: MailServer) -> None:
    (delivery,) = mail_to(ADA)
    assert not delivery.retry(timezone.now())
    mail.replies = {"RCPT": "550 no such user"}
    send_due()
    mail.replies = {}
    assert delivery.retry(timezone.now())
    assert not delivery.retry(timezone.now())
    assert send_due() == Sent(sent=1)
    assert not delivery.retry(timezone.now())


# Apprise


def test_a_message_is_pushed_to_the_url_at_its_place(hook: Webhook) -> None:
    push_to()
    assert send_due() == Sent(sent=1)
    assert hook.paths == ["/s3cret-token"]
    assert b"stock fails" in hook.bodies[0]


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_a_webhook_that_refuses_is_tried_again_and_its_url_is_nowhere(
    hook: Webhook, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("urllib3").setLevel(logging.DEBUG)
    try:
        hook.status = status
        push_to()
        assert send_due() == Sent(retried=1)
    finally:
        logging.getLogger("urllib3").setLevel(logging.WARNING)
    assert only().error == "URL 0 of HOTDATA_ALERT_URLS didn't take the message."
    assert "s3cret" not in caplog.text + repr(vars(only()))


def test_a_url_that_is_none_or_is_gone_is_given_up(settings: Settings) -> None:
    settings.HOTDATA_ALERT_URLS = ["s3cret://nobody"]
    push_to(0)
    push_to(1)
    assert send_due() == Sent(failed=2)
    assert list(Delivery.objects.order_by("id").values_list("error", flat=True)) == [
        "URL 0 of HOTDATA_ALERT_URLS is none that apprise knows.",
        "There is no URL 1 of HOTDATA_ALERT_URLS any more.",
    ]


def test_without_apprise_the_delivery_says_so(hook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    push_to()
    assert send_due() == Sent(retried=1)
    assert only().error.startswith("apprise is not installed. Install requirements-apprise.txt")
