"""HTTP headers: which ones a source may send, and what an upstream's Retry-After means."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from django.utils.translation import gettext as _

from hotdata.exceptions import BadSource

MAX_RETRY_AFTER = timedelta(hours=1)

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\xa0-\xff]*")
# They say how the message travels, which is for the transport alone to say.
_OWN_HEADERS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def check_headers(headers: Mapping[str, str], *, field: str = "headers") -> None:
    """Raise BadSource, blaming `field` and naming the header but never its value, unless all `headers` may be sent."""
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise BadSource(field, _("%(name)r is not a header name.") % {"name": name})
        if name.lower() in _OWN_HEADERS or name.lower().startswith("proxy-"):
            message = _("%(name)s can't be set: hotdata sets it itself.")
            raise BadSource(field, message % {"name": name})
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value) or value != value.strip():
            message = _(
                "The value of %(name)s must be a text of printable Latin-1 characters, without spaces around it."
            )
            raise BadSource(field, message % {"name": name})


def parse_retry_after(value: str | None, *, now: datetime) -> timedelta | None:
    """Return how long a ``Retry-After`` asks to wait, at most an hour, or None if it can't be read."""
    value = (value or "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return min(timedelta(seconds=int(value)), MAX_RETRY_AFTER)
    try:
        at = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if at.tzinfo is None:  # "-0000": UTC, and the sender doesn't know its time zone
        at = at.replace(tzinfo=UTC)
    return min(max(at - now, timedelta(0)), MAX_RETRY_AFTER)
