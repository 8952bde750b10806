"""Pages of long lists. A page leads on to the next by a cursor, which names the last row that was given.

So nothing is given twice and nothing is left out, whatever is added or deleted meanwhile, and the last page takes no
longer than the first. A cursor is opaque to who gets it; there is nothing secret in it.
"""

from __future__ import annotations

import base64
from typing import Annotated, Generic, TypeVar

import msgspec

from hotdata.api.asking import Refused
from hotdata.text import is_number

MOST = 100
Item = TypeVar("Item")

Limit = Annotated[int, msgspec.Meta(ge=1, le=MOST, description="How many, at most.")]
Cursor = Annotated[
    str, msgspec.Meta(max_length=200, description="`next` of the page before; empty: the first page.")
]


class Page(msgspec.Struct, Generic[Item]):
    """A part of a list."""

    items: list[Item]
    next: Annotated[
        str | None,
        msgspec.Meta(
            description="The `cursor` of the next page; null after the last one. A page may have fewer items than "
            "the limit, or none, and not be the last."
        ),
    ]


def cursor_at(place: str | int) -> str:
    """The cursor that leads on from `place`."""
    return base64.urlsafe_b64encode(str(place).encode()).rstrip(b"=").decode()


def name_at(cursor: str) -> str:
    """The name from which `cursor` leads on; empty for the beginning. Raises Refused."""
    try:
        # Filled up with more than it takes, which the decoder overlooks.
        name = base64.urlsafe_b64decode(cursor.encode() + b"==").decode()
    except ValueError as error:
        raise _bad_cursor() from error
    if cursor_at(name) != cursor or "\0" in name:
        raise _bad_cursor()
    return name


def number_at(cursor: str) -> int | None:
    """The number from which `cursor` leads on; None for the beginning. Raises Refused."""
    if not cursor:
        return None
    name = name_at(cursor)
    if not is_number(name):
        raise _bad_cursor()
    return int(name)


def _bad_cursor() -> Refused:
    return Refused(400, "cursor: this is none that an earlier page gave.")
