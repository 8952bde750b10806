"""Payloads: what a value must be to be stored, as an operator demands it of an upstream.

A value that breaks a rule counts as a failure of its key, which then keeps the value it had.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from django.utils.translation import gettext as _

from hotdata.exceptions import BadSource, UpstreamPayload
from hotdata.paths import check_expression, search


class Kind(enum.StrEnum):
    """What a value may have to be, in the words of JSON."""

    ANY = ""
    OBJECT = "object"
    ARRAY = "array"
    STRING = "string"
    NUMBER = "number"


@dataclass(frozen=True, kw_only=True)
class PayloadRules:
    """The rules for the values of a source. Building them checks them: BadSource names the source field to blame.

    ``kind`` is one of `Kind`. ``required`` are JMESPaths that must lead to something in a value. ``bounds`` maps
    a JMESPath to the least and the most that may be there, either None for an open end: what is there must be a
    number or a list of numbers, but nothing need be there. ``max_bytes`` is the most that a value may take as
    JSON.
    """

    kind: str = Kind.ANY
    required: Sequence[str] = ()
    bounds: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        _check_kind(self.kind)
        _check_required(self.required)
        _check_bounds(self.bounds)
        _check_max_bytes(self.max_bytes)

    def check(self, value: Any) -> None:
        """Raise UpstreamPayload, which names the broken rule and its path but never the value, unless all hold."""
        if self.kind != Kind.ANY and not _is_of_kind(value, self.kind):
            raise UpstreamPayload(f"The value is not of the kind {self.kind}.")
        if self.max_bytes is not None and _size(value) > self.max_bytes:
            raise UpstreamPayload(f"The value takes more than {self.max_bytes:,} bytes.")
        for path in self.required:
            if search(path, value) is None:
                raise UpstreamPayload(f"The value has nothing at {path!r}, where something is required.")
        for path, (least, most) in self.bounds.items():
            _check_numbers(path, search(path, value), least, most)


def _is_of_kind(value: Any, kind: str) -> bool:
    match kind:
        case Kind.OBJECT:
            return isinstance(value, dict)
        case Kind.ARRAY:
            return isinstance(value, list)
        case Kind.STRING:
            return isinstance(value, str)
        case _:
            return _is_number(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _size(value: Any) -> int:
    try:
        return len(msgspec.json.encode(value))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UpstreamPayload(f"The value is not JSON ({type(error).__name__}).") from error


def _check_numbers(path: str, found: Any, least: float | None, most: float | None) -> None:
    if found is None:
        return
    for number in found if isinstance(found, list) else [found]:
        if not _is_number(number):
            raise UpstreamPayload(f"The value has something at {path!r} that is no number.")
        # NaN is refused by either: it is neither above nor below anything.
        if least is not None and not number >= least:
            raise UpstreamPayload(f"The value has a number at {path!r} that is not at least {least}.")
        if most is not None and not number <= most:
            raise UpstreamPayload(f"The value has a number at {path!r} that is not at most {most}.")


# Checks of the rules themselves


def _check_kind(kind: Any) -> None:
    try:
        Kind(kind)
    except ValueError as error:
        raise BadSource("value_kind", _("%(kind)r is not a kind of value.") % {"kind": kind}) from error


def _check_required(required: Any) -> None:
    if not isinstance(required, list | tuple) or not all(isinstance(path, str) and path for path in required):
        raise BadSource("required", _("This must be a JSON array of JMESPaths."))
    for path in required:
        check_expression("required", path)


def _check_bounds(bounds: Any) -> None:
    if not isinstance(bounds, Mapping) or not all(isinstance(path, str) for path in bounds):
        raise BadSource("bounds", _("This must be a JSON object from JMESPaths to pairs."))
    for path, pair in bounds.items():
        check_expression("bounds", path)
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(map(_is_bound, pair)):
            message = _(
                "%(path)r must have a pair of numbers, the least and the most, or null for an open end."
            )
            raise BadSource("bounds", message % {"path": path})
        least, most = pair
        if least is not None and most is not None and least > most:
            message = _("%(path)r has a least that is above its most.")
            raise BadSource("bounds", message % {"path": path})


def _is_bound(value: Any) -> bool:
    return value is None or (_is_number(value) and -math.inf < value < math.inf)


def _check_max_bytes(max_bytes: Any) -> None:
    if max_bytes is None:
        return
    if not isinstance(max_bytes, int) or isinstance(max_bytes, bool) or max_bytes < 1:
        raise BadSource("max_bytes", _("This must be a whole number of bytes, at least 1."))
