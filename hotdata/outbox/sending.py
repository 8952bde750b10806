"""Sending: takes due deliveries to their channels, outside of any transaction, and records how each went.

Claim, try, record. A claim is a conditional update, so of two senders one sends. The try is made in a thread that
touches no database and has a deadline: a mail server or a webhook that hangs costs its own recipient the time, and
nobody else. What fails is tried again after a growing delay, for about a day; what can't succeed is not.

A message may come twice where nobody knows that it came: the process died, or the database went away, between the
server's answer and the record; or the answer came after the deadline. It is never lost.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from django.utils import timezone

from hotdata.execution.retry import retry_delay
from hotdata.logs import EventLogger
from hotdata.models import Delivery
from hotdata.outbox.mail import send_mail
from hotdata.outbox.pushing import push
from hotdata.outbox.trying import Channel, NotDelivered

TRY_LASTS = 20.0  # seconds
TURN_LASTS = 40.0  # seconds after which no further try begins
MOST_AT_ONCE = 8
MOST_IN_A_TURN = 200
FIRST_DELAY, LONGEST_DELAY = timedelta(seconds=15), timedelta(hours=1)
MOST_TRIES = 50
"""With full jitter, that is about a day."""

CHANNELS: dict[str, Channel] = {Delivery.Channel.MAIL: send_mail, Delivery.Channel.APPRISE: push}

_places = threading.BoundedSemaphore(MOST_AT_ONCE)
"""For threads that try, those included whose deadline has passed: they can't be ended."""
_being_tried: set[tuple[str, str]] = set()
"""Recipients with such a thread. Each takes one place at most, however long it hangs, and leaves the others theirs."""

logger = EventLogger(__name__)


@dataclass(kw_only=True)
class Sent:
    """What became of what was tried."""

    sent: int = 0
    retried: int = 0
    """They failed, and are tried again."""
    failed: int = 0
    """They were given up."""


@dataclass(kw_only=True)
class _Try:
    """A delivery under way. ``error`` is set before it is ended."""

    delivery: Delivery
    deadline: float
    error: NotDelivered | None = None


@dataclass(kw_only=True)
class _Turn:
    """What is still to be tried, by recipient: one message to each at a time, in the order of posting."""

    lanes: list[deque[Delivery]]
    under_way: dict[int, _Try] = field(default_factory=dict)
    ended: queue.SimpleQueue[_Try] = field(default_factory=queue.SimpleQueue)


def send_due(goes_on: Callable[[], bool] = lambda: True) -> Sent:
    """Send what is due; begin nothing more when it no longer `goes_on`."""
    return send(Delivery.objects.due(timezone.now())[:MOST_IN_A_TURN], goes_on)


def send(deliveries: Iterable[Delivery], goes_on: Callable[[], bool] = lambda: True) -> Sent:
    """Send those of `deliveries` that are due."""
    lanes: dict[tuple[str, str], deque[Delivery]] = {}
    for delivery in deliveries:
        lanes.setdefault(_to(delivery), deque()).append(delivery)
    turn, came_to = _Turn(lanes=list(lanes.values())), Sent()
    begin_until = time.monotonic() + TURN_LASTS
    while True:
        if time.monotonic() < begin_until and goes_on():
            _begin(turn)
        if not turn.under_way:
            return came_to
        for tried in _wait(turn):
            _record(tried, came_to)


def _to(delivery: Delivery) -> tuple[str, str]:
    return delivery.channel, delivery.recipient


def _begin(turn: _Turn) -> None:
    """Begin a try in each lane whose recipient has none, as long as there is place."""
    for lane in turn.lanes:
        while lane and _to(lane[0]) not in _being_tried and _places.acquire(blocking=False):
            _start(turn, lane.popleft())


def _start(turn: _Turn, delivery: Delivery) -> None:
    """Claim `delivery` and try it in a thread, which frees the place that the caller has taken."""
    claimed = False
    try:
        claimed = delivery.claim(timezone.now())
    finally:
        if not claimed:
            _places.release()
    if not claimed:
        return
    _being_tried.add(_to(delivery))
    tried = _Try(delivery=delivery, deadline=time.monotonic() + TRY_LASTS)
    turn.under_way[delivery.id] = tried
    # A daemon: a scheduler that stops waits for no mail server.
    threading.Thread(target=_try, args=[tried, turn.ended], name="hotdata-outbox", daemon=True).start()


def _try(tried: _Try, ended: queue.SimpleQueue[_Try]) -> None:
    try:
        CHANNELS[tried.delivery.channel](tried.delivery)
    except NotDelivered as error:
        tried.error = error
    except Exception as error:  # noqa: BLE001 - the channel may be a backend of the site's own
        # Not with its words or its traceback: nobody knows what it puts into them.
        logger.error("outbox.broken", channel=tried.delivery.channel, error=type(error).__name__)
        tried.error = NotDelivered(f"{type(error).__name__} in the channel.")
    finally:
        _being_tried.discard(_to(tried.delivery))
        _places.release()
        ended.put(tried)


def _wait(turn: _Turn) -> list[_Try]:
    """The tries that have ended or run out of time by now; waits a moment for one."""
    over: list[_Try] = []
    first = min(tried.deadline for tried in turn.under_way.values())
    try:
        over.append(turn.ended.get(timeout=max(0.0, min(first - time.monotonic(), 1.0))))
        while True:
            over.append(turn.ended.get_nowait())
    except queue.Empty:
        pass
    for tried in list(turn.under_way.values()):
        if tried not in over and time.monotonic() >= tried.deadline:
            over.append(_given_up(turn, tried))
    return [tried for tried in over if turn.under_way.pop(tried.delivery.id, None)]


def _given_up(turn: _Turn, tried: _Try) -> _Try:
    """What is recorded of a try whose thread hangs; whatever else waits for its recipient has a turn later."""
    recipient = _to(tried.delivery)
    turn.lanes = [lane for lane in turn.lanes if lane and _to(lane[0]) != recipient]
    error = NotDelivered(f"No answer within {TRY_LASTS:.0f} s.")
    return _Try(delivery=tried.delivery, deadline=tried.deadline, error=error)


def _record(tried: _Try, came_to: Sent) -> None:
    delivery, error = tried.delivery, tried.error
    if error is None:
        delivery.succeed(timezone.now())
        came_to.sent += 1
        logger.info("outbox.sent", delivery=delivery.id, channel=delivery.channel, tries=delivery.tries)
        return
    gives_up = error.permanent or delivery.tries >= MOST_TRIES
    delay = retry_delay(delivery.tries, first=FIRST_DELAY, longest=LONGEST_DELAY)
    delivery.fail(str(error), retry_at=None if gives_up else timezone.now() + delay)
    if gives_up:
        came_to.failed += 1
    else:
        came_to.retried += 1
    logger.warning(
        "outbox.failed" if gives_up else "outbox.retried",
        delivery=delivery.id,
        channel=delivery.channel,
        tries=delivery.tries,
        error=error,
    )
