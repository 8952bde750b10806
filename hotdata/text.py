"""Text from anywhere, made fit for the record: no secret, nothing that a database can't hold, not too much."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus

from django.conf import settings

from hotdata.conf import SECRET_PREFIX, conf

LONGEST_ID = 18  # digits of a number that every database holds as a row's id
REDACTED = "[secret]"
URL_MARKS = re.compile(r"[/:@?&=#]+")
SHORTEST_SECRET = 4  # characters; shorter ones stand in half of all texts by chance
SHORTEST_TELLING = 8  # characters; where a shorter one stands, it may well do so by chance
IN_A_URL = re.compile(r"(?<=://)[^\s/@]*:[^\s/@]*(?=@)")
"""The name and password of a URL that has them."""

CONTROL_PICTURES = 0x2400  # where Unicode has a picture for each of the first 32 characters
SHOWN = {code: CONTROL_PICTURES + code for code in range(32) if chr(code) not in "\n\t"}
SHOWN[0x7F] = 0x2421
# These turn the direction of what follows round, and with it what a line seems to say.
SHOWN |= dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C], 0xFFFD)


def is_number(text: str, digits: int = LONGEST_ID) -> bool:
    """Whether `text` is a whole number as databases and URLs have it, of at most so many `digits`."""
    return text.isascii() and text.isdecimal() and len(text) <= digits


def shortened(text: str, limit: int) -> str:
    """`text`, or its two ends when it has more than `limit` characters, with a word on what is left out."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[len(text) - half :]}"


def printable(text: str) -> str:
    """`text` with nothing in it that does something to a terminal, such as to clear it or to turn it around."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


def storable(text: str) -> str:
    """`text` without the secrets of upstreams, and without NUL and halves of surrogate pairs.

    Nothing of ours writes a secret into a text. But a task or fetcher may print, log or raise what its library
    says, and that is often a whole URL with the key in it.
    """
    if not text:
        return text
    for secret in known_secrets():
        text = text.replace(secret, REDACTED)
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def without_credentials(text: str) -> str:
    """`text`, such as an error of a database, without the site's own passwords, as well as `storable`."""
    for database in settings.DATABASES.values():
        password = str(database.get("PASSWORD") or "")
        if len(password) >= SHORTEST_SECRET:
            text = text.replace(password, REDACTED)
    return storable(IN_A_URL.sub(REDACTED, text))


def holds_secret(text: str) -> bool:
    """Whether `text` holds the secret of an upstream, one that is long enough not to stand there by chance."""
    return any(secret in text for secret in known_secrets(SHORTEST_TELLING))


def without_secrets(data: Any) -> Any:
    """JSON `data` with the secrets of upstreams taken out of its texts and names."""
    if isinstance(data, str):
        return storable(data)
    if isinstance(data, list):
        return [without_secrets(item) for item in data]
    if isinstance(data, dict):
        return {storable(name): without_secrets(item) for name, item in data.items()}
    return data


def known_secrets(shortest: int = SHORTEST_SECRET) -> list[str]:
    """What all environment variables that sources may name hold, and the settings that are secrets; longest first.

    In all spellings, but none of less than `shortest` characters.
    """
    prefix = conf().secret_prefix
    values = {
        value for name, value in os.environ.items() if name.startswith(prefix) and name != SECRET_PREFIX
    }
    for url in (*conf().alert_urls, conf().heartbeat_url):
        values |= {url, *_telling_parts(url)}
    spelt = {spelling for value in values for spelling in _spellings(value)}
    return sorted((text for text in spelt if len(text) >= shortest), key=len, reverse=True)


def _telling_parts(url: str) -> Iterator[str]:
    """The parts of `url` that may be secrets: who calls it makes another address of them, and errors quote that."""
    return (part for part in URL_MARKS.split(url) if len(part) >= SHORTEST_TELLING and "." not in part)


def _spellings(value: str) -> Iterator[str]:
    """`value` as it is, and as URLs and JSON spell it; and the words of one like `Bearer 3d8a…`, without the scheme."""
    for text in {value, *(word for word in value.split() if len(word) >= SHORTEST_TELLING)}:
        yield from (text, quote(text, safe=""), quote_plus(text))
        yield from (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])


def visible(text: str) -> str:
    """`text` with line breaks and tabs as the only characters that do something."""
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(SHOWN)


def first_line(text: str) -> str:
    """The first line of `text` that says something."""
    return visible(text).strip().partition("\n")[0]
