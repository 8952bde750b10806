"""What a request asks: its query and body as structs, or why it can't be understood.

Nothing is guessed: a parameter that is given twice where one is expected is refused, and so is a field or parameter
that isn't known, where the struct forbids such. Errors name the place that is wrong.
"""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import Any, TypeVar

import msgspec
from django.http import HttpRequest, UnreadablePostError

JSON = "application/json"

Asked = TypeVar("Asked", bound=msgspec.Struct)


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """Nothing: what is sent may be empty, or an empty object."""


class Refused(Exception):
    """The request is answered with `status` and this message, and nothing was done."""

    def __init__(self, status: int, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


def query_of(request: HttpRequest, wanted: type[Asked]) -> Asked:
    """The parameters of the request's address. Raises Refused."""
    several = _lists(wanted)
    given: dict[str, Any] = {}
    for name, values in request.GET.lists():
        if len(values) > 1 and several.get(name) is False:
            raise Refused(400, f"{name}: given {len(values)} times.")
        given[name] = values if several.get(name) else values[0]
    try:
        # In an address all is text: not strict, so that numbers are taken from it.
        return msgspec.convert(given, wanted, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(400, _told(error)) from error


def body_of(request: HttpRequest, wanted: type[Asked]) -> Asked:
    """What was sent as JSON; of nothing, what `wanted` is by default. Raises Refused.

    The type is looked at first: the check of a form's token may have read a form already, and left nothing.
    """
    sent_as = request.content_type or JSON
    if sent_as.startswith("multipart/") or (sent_as != JSON and _sent(request)):
        raise Refused(415, f"Send JSON, as {JSON}; this is {sent_as}.")
    try:
        return msgspec.json.decode(_sent(request) or b"{}", type=wanted)
    except msgspec.ValidationError as error:
        raise Refused(400, _told(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, f"The body is not JSON: {error}.") from error


def _sent(request: HttpRequest) -> bytes:
    try:
        return request.body
    except (ValueError, UnreadablePostError) as error:  # a length that is no number; a reader who went away
        raise Refused(400, "The body can't be read.") from error


@functools.cache
def _lists(wanted: type[msgspec.Struct]) -> dict[str, bool]:
    """The names of the parameters, and of each whether it may be given several times."""
    described = msgspec.inspect.type_info(wanted)
    assert isinstance(described, msgspec.inspect.StructType)
    return {field.encode_name: _is_list(field.type) for field in described.fields}


def _is_list(kind: msgspec.inspect.Type) -> bool:
    if isinstance(kind, msgspec.inspect.Metadata):  # what says more of the type
        kind = kind.type
    return isinstance(kind, msgspec.inspect.ListType)


def _told(error: msgspec.ValidationError) -> str:
    """The error with the place first: ``limit: Expected `int` <= 100.``"""
    message, _, place = str(error).rpartition(" - at `$.")
    return f"{place[:-1]}: {message}." if message else f"{place}."
