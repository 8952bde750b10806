"""What a run's process and its scheduler say to each other: JSON, one message at a time.

No object of a task is ever pickled, and what a message may hold is written here. Each is a line, so that whoever
listens never has to wait for the rest of one: its sender may have been stopped in the middle. In the other
direction there is one word only, `CANCEL`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec

CANCEL = b"cancel"
END = b"\n"  # which JSON writes as an escape


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The run as its process is told of it: the task with its parameters, and what `current_run()` gives there."""

    id: int | None
    job: str
    task: str
    params: dict[str, Any]
    time_zone: str
    scheduled_for: datetime | None
    attempt: int
    timeout: timedelta | None
    log_limit: int


class Begun(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The process is there and about to call the task. Its id is its group's, too."""

    pid: int


class Wrote(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A piece of log."""

    text: str


class Progressed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """How far the task says it is."""

    done: int
    total: int | None
    notable: bool


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """What came of calling the task: the last message. The fields are those of `Outcome`."""

    state: str
    result: Any = None
    error: str = ""
    traceback: str = ""
    permanent: bool = False
    retry_after: timedelta | None = None


Message = Begun | Wrote | Progressed | Ended

_orders = msgspec.json.Decoder(Order)
_messages: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


def encode_order(order: Order) -> bytes:
    """The order as it travels."""
    return msgspec.json.encode(order)


def decode_order(data: bytes) -> Order:
    """The order in `data`, which `encode_order` has made."""
    return _orders.decode(data)


def encode_message(message: Message) -> bytes:
    """The message as it travels. Its texts must have a UTF-8 form."""
    return msgspec.json.encode(message) + END


class Inbox:
    """Puts messages together from the pieces in which they come."""

    def __init__(self) -> None:
        self._rest = b""

    def take_in(self, piece: bytes) -> list[Message]:
        """The messages that `piece` completes; raises msgspec.DecodeError for what is none."""
        *lines, self._rest = (self._rest + piece).split(END)
        return [_messages.decode(line) for line in lines]
