"""The catalogue holds every text of the code, all of them translated, and is compiled as it stands."""

from __future__ import annotations

import re

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import read_mo
from django.utils.translation import gettext, ngettext, override, pgettext

from hotdata.triggers import wording
from tools import messages

PLACEHOLDER = re.compile(r"%\(\w+\)[-#0-9.]*[a-z]|%[sd]|\{\w*\}", re.IGNORECASE)
OF_OTHER_FIELDS = re.compile(
    r"second\b|seconds|year|AM|PM|error|days before|nearest|first weekday|, on the \{0\}"
)
"""Of cron-descriptor's phrases those that an expression of five fields as Debian knows it never brings up."""


@pytest.fixture(scope="module")
def stored() -> Catalog:
    return messages.read()


def ids(catalogue: Catalog) -> set[tuple[str | None, object]]:
    return {(message.context, message.id) for message in catalogue if message.id}


def strings(message: Message) -> list[str]:
    return [message.string] if isinstance(message.string, str) else list(message.string)


def source(message: Message) -> str:
    """What a translation has to say: of two, the plural, since that names the number."""
    return message.id if isinstance(message.id, str) else message.id[1]


def test_every_text_of_the_code_is_in_the_catalogue(stored: Catalog) -> None:
    assert ids(messages.updated(stored)) - ids(stored) == set(), "run `make messages`, then translate"


def test_the_catalogue_holds_nothing_else(stored: Catalog) -> None:
    assert ids(stored) - ids(messages.updated(stored)) == set(), "run `make messages`"
    assert not stored.obsolete, "run `make messages`"


def test_every_text_is_translated_and_no_translation_is_a_guess(stored: Catalog) -> None:
    assert [message.id for message in messages.untranslated(stored)] == []


def test_translations_have_the_placeholders_of_their_texts(stored: Catalog) -> None:
    wrong = [
        (source(message), string)
        for message in stored
        if message.id
        for string in strings(message)
        if string and sorted(PLACEHOLDER.findall(string)) != sorted(PLACEHOLDER.findall(source(message)))
    ]
    assert wrong == []


def test_pages_say_what_the_catalogue_says(stored: Catalog) -> None:
    # Where apps translate the same text, the first of them is heard, and Django's admin comes before this one.
    with override("zh-hans"):
        others = [
            (message.id, said)
            for message in stored
            if message.id and (said := _said(message)) != strings(message)[0]
        ]
    assert others == [], "give the text a context, or Django's translation"


def _said(message: Message) -> str:
    if not isinstance(message.id, str):
        return ngettext(*message.id, 1)
    return pgettext(message.context, message.id) if message.context else gettext(message.id)


def test_translations_begin_and_end_with_a_line_break_where_their_texts_do(stored: Catalog) -> None:
    for message in stored:
        for string in strings(message) if message.id else ():
            assert string.startswith("\n") == source(message).startswith("\n")
            assert string.endswith("\n") == source(message).endswith("\n")


def test_the_files_are_what_make_messages_makes_of_them(stored: Catalog) -> None:
    catalogue = messages.updated(stored)
    assert messages.CATALOGUE.read_bytes() == messages.po(catalogue), "run `make messages`"
    assert messages.COMPILED.read_bytes() == messages.mo(catalogue), "run `make messages`"


def test_the_phrases_of_cron_descriptor_are_all_ours() -> None:
    with (wording.LOCALES / f"{wording.ENGLISH}.mo").open("rb") as file:
        known = {message.id for message in read_mo(file) if message.id}
    with override(None):
        ours = {str(phrase) for phrase in wording.PHRASES}
    assert {phrase for phrase in known - ours if not OF_OTHER_FIELDS.search(phrase)} == set()


@pytest.mark.parametrize("dropped", ["every hour", "every minute", "every day"])
def test_what_cron_descriptor_leaves_out_begins_no_other_phrase(dropped: str) -> None:
    # It deletes these phrases from what it has put together, wherever they stand.
    with override("zh-hans"):
        deleted = wording._Descriptor("* * * * *", "zh_CN").translate(f", {dropped}")
        others = [", " + str(phrase).removeprefix(", ") for phrase in wording.PHRASES]
    assert [other for other in others if other.startswith(deleted) and other != deleted] == []
