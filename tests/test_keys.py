"""Keys: what may be one, the one form that it has, its name in Redis, and the patterns that it may match."""

from __future__ import annotations

import re
import unicodedata
from time import thread_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotdata.exceptions import BadSource
from hotdata.keys import MAX_LENGTH, MAX_PATTERN, KeyPattern, check_key, storage_name

COMPOSED, DECOMPOSED = "Zürich", "Zu\u0308rich"
FALLS_APART = "\u0958"  # DEVANAGARI LETTER QA: one character, whose NFC form is two
SLOW = 0.05  # seconds; a check takes microseconds


@pytest.mark.parametrize(
    "key",
    [
        "AAPL",
        "brk.b",
        "a",
        "0",
        "-",
        "_",
        "...",
        "..a",
        "北京",
        "北京:2026-11-24",
        "a b",
        "a+b",
        "a&b=c",
        "%2e%2e",
        "{key}",
        "a,b",
        "?x#y",
        "'; DROP TABLE",
        "🌦",
        COMPOSED,
        "x" * MAX_LENGTH,
        "京" * MAX_LENGTH,
    ],
)
def test_an_ordinary_key_is_its_own_one_form(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "A key can't be empty."),
        (".", "'.' can't be a key: it would climb"),
        ("..", "'..' can't be a key: it would climb"),
        ("/", "can't contain '/'"),
        ("../admin", "can't contain '/'"),
        ("a/b", "can't contain '/'"),
        ("a\\b", "can't contain '\\\\'"),
        ("a\nb", "the character U+000A"),
        ("AAPL\n", "the character U+000A"),
        ("a\rb", "the character U+000D"),
        ("a\tb", "the character U+0009"),
        ("a\x00b", "the character U+0000"),
        ("a\x7f", "the character U+007F"),
        ("a\x85", "the character U+0085"),
        ("AA\u200bPL", "the character U+200B"),  # zero width space
        ("AAPL\u200d", "the character U+200D"),  # zero width joiner
        ("\ufeffAAPL", "the character U+FEFF"),  # byte order mark
        ("\u202eLPAA", "the character U+202E"),  # right-to-left override
        ("AA\u00adPL", "the character U+00AD"),  # soft hyphen
        ("a\u2028b", "the character U+2028"),
        ("a\u2029b", "the character U+2029"),
        ("\ud800", "the character U+D800"),
        ("x" * (MAX_LENGTH + 1), "at most 128 characters; this one has 129"),
        ("x" * 5000, "at most 128 characters; this one has 5,000"),
        ("京" * 5000, "at most 128 characters; this one has 5,000"),
        (FALLS_APART * MAX_LENGTH, "at most 128 characters"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_key_is_refused_with_the_reason(key: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        check_key(key)


def test_a_key_that_is_typed_in_two_ways_has_one_form() -> None:
    assert DECOMPOSED != COMPOSED
    assert check_key(DECOMPOSED) == check_key(COMPOSED) == COMPOSED
    assert storage_name(check_key(DECOMPOSED)) == storage_name(check_key(COMPOSED))


def test_a_text_of_many_megabytes_is_refused_at_once() -> None:
    huge = DECOMPOSED * 2_000_000
    before = thread_time()
    with pytest.raises(ValueError, match="at most 128"):
        check_key(huge)
    assert thread_time() - before < SLOW


@given(st.text(max_size=MAX_LENGTH + 2))
def test_the_form_of_an_accepted_key_is_final_and_safe(text: str) -> None:
    try:
        key = check_key(text)
    except ValueError:
        return
    assert check_key(key) == key == unicodedata.normalize("NFC", text)
    assert 0 < len(key) <= MAX_LENGTH
    assert not set(key) & set("/\\\r\n\x00")
    assert key.encode()


@given(st.from_regex(r"[A-Za-z0-9._-]{1,130}", fullmatch=True))
def test_plain_keys_are_accepted_by_the_same_rules(text: str) -> None:
    if len(text) > MAX_LENGTH or text in (".", ".."):
        with pytest.raises(ValueError, match="key"):
            check_key(text)
    else:
        assert check_key(text) == text


# In Redis


@pytest.mark.parametrize("key", ["AAPL", "brk.b", "a-b_c.9", "x" * 100])
def test_a_short_plain_key_can_be_read_in_redis(key: str) -> None:
    assert storage_name(key) == key


@pytest.mark.parametrize("key", ["北京", "a b", "a:b", "a*", "{a}", "x" * 101, "sha256:" + "0" * 64])
def test_any_other_key_is_stored_under_its_hash(key: str) -> None:
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", storage_name(key))


def test_the_hash_is_that_of_the_keys_utf_8() -> None:
    # Computed by sha256sum: entries must be found again by every later release.
    digest = "68c77e155132565e1cbbace574552fedbb9e769c147d0e9e5ed64701f0cdf82d"
    assert storage_name("北京") == f"sha256:{digest}"


@given(st.sets(st.text(st.characters(codec="utf-8"), min_size=1, max_size=MAX_LENGTH), min_size=2))
def test_no_two_keys_share_a_storage_name(keys: set[str]) -> None:
    assert len({storage_name(key) for key in keys}) == len(keys)


# Patterns


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("[A-Z]{1,5}", ["A", "AAPL"], ["", "aapl", "AAPL ", "XAAPLX", "A1", "AAPL\n", "ÄÖÜ"]),
        ("AAPL|MSFT", ["AAPL", "MSFT"], ["AAPLX", "XMSFT"]),
        ("^AAPL$", ["AAPL"], ["AAPL\n", "XAAPL"]),
        ("a.c", ["abc", "a中c", "a🌦c"], ["ac", "a\nc"]),
        (r"\p{Han}{2,}", ["北京"], ["京", "Beijing", "北京x"]),
        (r"[\p{L}\p{N}.:-]{1,128}", ["Zürich:2026", "京" * MAX_LENGTH], ["a b", "x" * (MAX_LENGTH + 1)]),
        ("(?i)aapl", ["AAPL", "aapl"], ["msft"]),
        (".*", ["", "AAPL", "a b"], []),
        (r"\d+", ["123"], ["١٢٣", "12a"]),
    ],
)
def test_a_pattern_matches_whole_keys(pattern: str, matching: list[str], others: list[str]) -> None:
    tested = KeyPattern(pattern)
    assert [key for key in [*matching, *others] if tested.matches(key)] == matching


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("", "A pattern is needed"),
        ("a" * (MAX_PATTERN + 1), "At most 200 characters"),
        ("[A-Z", "not a regular expression of RE2: missing ]"),
        ("(a", "missing )"),
        ("*a", "no argument for repetition"),
        ("(?=a)b", "invalid perl operator"),
        ("(?<!a)b", "not a regular expression of RE2"),
        (r"(a)\1", "invalid escape sequence"),
        ("a{1001}", "invalid repetition size"),
        ("((a{100}){100}){100}", "invalid repetition size"),
        (r"(\pL{100}){10}", "pattern too large"),
        (r"\p{Klingon}", "invalid character class range"),
        ("a\ud800", "characters that can't be stored"),
    ],
)
def test_what_is_no_pattern_is_refused_with_the_reason(
    pattern: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadSource) as refused:
        KeyPattern(pattern)
    assert refused.value.field == "key_pattern"
    assert message in str(refused.value)
    assert capfd.readouterr() == ("", "")  # RE2 would tell it to stderr, too


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|a)*$", "(a|aa)+$", "(.*a){20}", "(x+x+)+y", "(a?){100}a{100}"]
)
@pytest.mark.parametrize("key", ["a" * 127 + "!", "x" * MAX_LENGTH, "京" * MAX_LENGTH])
def test_no_pattern_takes_long_on_any_key(pattern: str, key: str) -> None:
    # Python's own engine takes 2^127 steps for the first of them.
    tested = KeyPattern(pattern)
    before = thread_time()
    assert not tested.matches(key)
    assert thread_time() - before < SLOW


def test_a_pattern_of_many_groups_is_matched_as_fast_as_a_plain_one() -> None:
    plain, catastrophic = KeyPattern("a+"), KeyPattern("(((((a+)+)+)+)+)")
    key = "a" * MAX_LENGTH
    assert plain.matches(key)
    assert catastrophic.matches(key)
    spent = {tested: min(_spent(tested, key) for _ in range(20)) for tested in (plain, catastrophic)}
    assert spent[catastrophic] < 10 * spent[plain]


def _spent(tested: KeyPattern, key: str) -> float:
    before = thread_time()
    for _ in range(20):
        tested.matches(key)
    return thread_time() - before


@given(st.text(max_size=30), st.text(st.characters(codec="utf-8"), max_size=MAX_LENGTH))
def test_whatever_is_typed_as_a_pattern_is_refused_or_usable(pattern: str, key: str) -> None:
    try:
        tested = KeyPattern(pattern)
    except BadSource:
        return
    assert tested.matches(key) in (True, False)
