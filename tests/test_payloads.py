"""Payload rules: what an operator may demand of a value, and which values meet it."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotdata.exceptions import BadSource, UpstreamPayload
from hotdata.paths import MAX_EXPRESSION
from hotdata.payloads import Kind, PayloadRules

QUOTE = {
    "symbol": "AAPL",
    "price": 227.5,
    "open": None,
    "halted": False,
    "history": [226, 227.5],
    "days": [{"low": 1.5, "high": 3}, {"low": 2}],
}
LARGE = 10**400  # no float can hold it
SECRET = "5ec2e7"

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=10,
)


def refusal(value: Any, **rules: Any) -> str:
    with pytest.raises(UpstreamPayload) as refused:
        PayloadRules(**rules).check(value)
    return str(refused.value)


@given(JSON)
def test_without_rules_everything_is_accepted(value: Any) -> None:
    PayloadRules().check(value)


# The kind


EXAMPLES = {
    Kind.OBJECT: [{}, QUOTE],
    Kind.ARRAY: [[], [1, "a"]],
    Kind.STRING: ["", "1"],
    Kind.NUMBER: [0, -1, 2.5, LARGE],
    None: [None, True, False],
}


@pytest.mark.parametrize("kind", [Kind.OBJECT, Kind.ARRAY, Kind.STRING, Kind.NUMBER])
def test_a_value_must_be_of_its_kind(kind: Kind) -> None:
    for other, values in EXAMPLES.items():
        for value in values:
            if other == kind:
                PayloadRules(kind=kind).check(value)
            else:
                assert refusal(value, kind=kind) == f"The value is not of the kind {kind}."


def test_a_kind_may_be_given_as_it_is_stored() -> None:
    PayloadRules(kind="number").check(1)
    assert "not of the kind number" in refusal(True, kind="number")


# What is required


@pytest.mark.parametrize(
    "path", ["symbol", "price", "halted", "history[1]", "days[0].high", "@", "days[*].nothing"]
)
def test_what_is_required_is_there(path: str) -> None:
    PayloadRules(required=[path]).check(QUOTE)


@pytest.mark.parametrize("path", ["open", "volume", "history[2]", "symbol.name", "days.low"])
def test_what_is_required_and_not_there_is_named(path: str) -> None:
    said = refusal(QUOTE, required=["symbol", path])
    assert said == f"The value has nothing at {path!r}, where something is required."


# Bounds


@pytest.mark.parametrize(
    ("path", "pair"),
    [
        ("price", [0, 1000]),
        ("price", [227.5, 227.5]),
        ("price", [None, 228]),
        ("price", [0, None]),
        ("price", [None, None]),
        ("price", (-LARGE, LARGE)),
        ("history", [226, 227.5]),
        ("days[*].low", [1.5, 2]),
        ("days[*].nothing", [0, 1]),  # an empty list of numbers
        ("volume", [0, 1]),
        ("open", [0, 1]),
    ],
)
def test_numbers_may_be_within_their_bounds_or_absent(path: str, pair: Any) -> None:
    PayloadRules(bounds={path: pair}).check(QUOTE)


@pytest.mark.parametrize(
    ("path", "pair", "message"),
    [
        ("price", [228, None], "a number at 'price' that is not at least 228"),
        ("price", [None, 227.4], "a number at 'price' that is not at most 227.4"),
        ("price", [228, 300], "not at least 228"),
        ("history", [None, 227], "a number at 'history' that is not at most 227"),
        ("days[*].low", [2, None], "a number at 'days[*].low' that is not at least 2"),
        ("symbol", [0, 1], "something at 'symbol' that is no number"),
        ("halted", [0, 1], "something at 'halted' that is no number"),
        ("halted", [None, None], "something at 'halted' that is no number"),
        ("@", [0, 1], "something at '@' that is no number"),
        ("days", [0, 1], "something at 'days' that is no number"),
        ("[history]", [0, 1000], "no number"),
        ("[open]", [0, 1], "no number"),
    ],
)
def test_what_is_out_of_bounds_is_refused_by_its_path(path: str, pair: Any, message: str) -> None:
    assert message in refusal(QUOTE, bounds={path: pair})


def test_a_value_that_is_a_number_has_bounds_at_the_empty_path() -> None:
    rules = PayloadRules(bounds={"": [0, 10]})
    rules.check(10)
    with pytest.raises(UpstreamPayload):
        rules.check(11)


def test_what_is_required_and_bounded_must_be_both() -> None:
    rules = {"required": ["volume"], "bounds": {"volume": [0, None]}}
    assert "required" in refusal(QUOTE, **rules)
    assert "not at least 0" in refusal({"volume": -1}, **rules)
    PayloadRules(**rules).check({"volume": 0})


def test_numbers_that_no_float_can_hold_are_compared() -> None:
    assert "not at most" in refusal(LARGE, bounds={"@": [0, 1.5]})
    assert "not at least" in refusal(-LARGE, bounds={"@": [-1.5, None]})


@pytest.mark.parametrize("pair", [[0, None], [None, 0]])
def test_nan_is_within_no_bounds(pair: Any) -> None:
    assert refusal(math.nan, bounds={"@": pair})


@given(st.lists(st.integers(-20, 20), max_size=5), st.integers(-20, 20), st.integers(-20, 20))
def test_bounds_are_inclusive_for_each_number(numbers: list[int], one: int, other: int) -> None:
    least, most = sorted((one, other))
    try:
        PayloadRules(bounds={"n": [least, most]}).check({"n": numbers})
        accepted = True
    except UpstreamPayload:
        accepted = False
    assert accepted == all(least <= number <= most for number in numbers)


# The size


def test_a_value_may_take_so_many_bytes_as_json() -> None:
    assert len('{"city":"北京"}'.encode()) == 17
    PayloadRules(max_bytes=17).check({"city": "北京"})
    assert refusal({"city": "北京"}, max_bytes=16) == "The value takes more than 16 bytes."


def test_what_has_no_size_as_json_is_refused() -> None:
    assert "not JSON (TypeError)" in refusal(object(), max_bytes=100)


# What is said


@pytest.mark.parametrize(
    "rules",
    [
        {"kind": Kind.NUMBER},
        {"required": ["secret.missing"]},
        {"required": ["length(number)"]},
        {"bounds": {"secret": [0, 1]}},
        {"bounds": {"number": [0, 1]}},
        {"max_bytes": 5},
    ],
)
def test_a_refusal_never_repeats_the_value(rules: dict[str, Any]) -> None:
    said = refusal({"secret": SECRET, "number": 987654}, **rules)
    assert SECRET not in said
    assert "987654" not in said


def test_a_path_that_does_not_fit_the_value_is_named() -> None:
    assert "doesn't fit 'length(price)'" in refusal(QUOTE, required=["length(price)"])
    assert "doesn't fit 'sum(days)'" in refusal(QUOTE, bounds={"sum(days)": [0, 1]})


# What a rule may be


@pytest.mark.parametrize(
    ("rules", "blamed", "message"),
    [
        ({"kind": "integer"}, "value_kind", "'integer' is not a kind of value"),
        ({"kind": None}, "value_kind", "not a kind of value"),
        ({"required": None}, "required", "a JSON array of JMESPaths"),
        ({"required": "price"}, "required", "a JSON array of JMESPaths"),
        ({"required": {"price": 1}}, "required", "a JSON array of JMESPaths"),
        ({"required": [1]}, "required", "a JSON array of JMESPaths"),
        ({"required": [""]}, "required", "a JSON array of JMESPaths"),
        ({"required": ["price", "a["]}, "required", "not a JMESPath expression"),
        ({"required": ["'\ud800'"]}, "required", "characters that can't be stored"),
        ({"required": ["'\x00'"]}, "required", "characters that can't be stored"),
        ({"required": ["a" * (MAX_EXPRESSION + 1)]}, "required", "At most 500 characters"),
        ({"bounds": None}, "bounds", "a JSON object from JMESPaths to pairs"),
        ({"bounds": [["price", 0, 1]]}, "bounds", "a JSON object from JMESPaths to pairs"),
        ({"bounds": {"a[": [0, 1]}}, "bounds", "not a JMESPath expression"),
        ({"bounds": {"price": 0}}, "bounds", "'price' must have a pair of numbers"),
        ({"bounds": {"price": "01"}}, "bounds", "must have a pair of numbers"),
        ({"bounds": {"price": [0]}}, "bounds", "must have a pair of numbers"),
        ({"bounds": {"price": [0, 1, 2]}}, "bounds", "must have a pair of numbers"),
        ({"bounds": {"price": ["0", 1]}}, "bounds", "must have a pair of numbers"),
        ({"bounds": {"price": [False, 1]}}, "bounds", "must have a pair of numbers"),
        ({"bounds": {"price": [0, True]}}, "bounds", "must have a pair of numbers"),
        ({"bounds": {"price": [math.nan, 1]}}, "bounds", "must have a pair of numbers"),
        ({"bounds": {"price": [0, math.inf]}}, "bounds", "must have a pair of numbers"),
        ({"bounds": {"price": [1, 0]}}, "bounds", "'price' has a least that is above its most"),
        ({"max_bytes": 0}, "max_bytes", "at least 1"),
        ({"max_bytes": -1}, "max_bytes", "at least 1"),
        ({"max_bytes": True}, "max_bytes", "a whole number of bytes"),
        ({"max_bytes": "100"}, "max_bytes", "a whole number of bytes"),
        ({"max_bytes": 1.5}, "max_bytes", "a whole number of bytes"),
    ],
)
def test_a_rule_that_is_none_is_refused_by_its_field(
    rules: dict[str, Any], blamed: str, message: str
) -> None:
    with pytest.raises(BadSource) as refused:
        PayloadRules(**rules)
    assert refused.value.field == blamed
    assert message in str(refused.value)


PATHS = st.sampled_from(["", "a", "a.b", "[0]", "length(@)", "a["]) | st.text(max_size=4)
BOUNDS = st.none() | st.integers() | st.floats() | st.booleans()


# JMESPath's old way to write a text, which it reads still.
@pytest.mark.filterwarnings("ignore:deprecated string literal syntax:PendingDeprecationWarning")
@given(
    st.lists(PATHS, max_size=3),
    st.dictionaries(PATHS, st.lists(BOUNDS, min_size=1, max_size=3), max_size=3),
    JSON,
)
def test_rules_are_refused_when_they_are_made_or_can_be_used(required: Any, bounds: Any, value: Any) -> None:
    with contextlib.suppress(BadSource, UpstreamPayload):
        PayloadRules(required=required, bounds=bounds).check(value)


@pytest.mark.parametrize("field", ["kind", "required", "bounds", "max_bytes"])
@given(typed=JSON)
def test_whatever_is_typed_into_a_field_raises_nothing_else(field: str, typed: Any) -> None:
    with contextlib.suppress(BadSource):
        PayloadRules(**{field: typed})
