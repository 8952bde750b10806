"""Text from anywhere, made fit for the record: no secret, nothing that a database can't hold, not too much."""

from __future__ import annotations

import os
from urllib.parse import quote, quote_plus

from hotdata.conf import conf

REDACTED = "[secret]"
SHORTEST_SECRET = 4  # characters; shorter ones stand in half of all texts by chance


def shortened(text: str, limit: int) -> str:
    """`text`, or its two ends when it has more than `limit` characters, with a word on what is left out."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[len(text) - half :]}"


def storable(text: str) -> str:
    """`text` without the secrets of upstreams, and without NUL and halves of surrogate pairs.

    Nothing of ours writes a secret into a text. But a task or fetcher may print, log or raise what its library
    says, and that is often a whole URL with the key in it.
    """
    if not text:
        return text
    for secret in _secrets():
        text = text.replace(secret, REDACTED)
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def holds_secret(text: str) -> bool:
    """Whether `text` holds the secret of an upstream."""
    return any(secret in text for secret in _secrets())


def _secrets() -> list[str]:
    """The values of all environment variables that sources may name, also as a URL spells them; longest first."""
    prefix = conf().secret_prefix
    values = {value for name, value in os.environ.items() if name.startswith(prefix)}
    spelt = values | {quote(value, safe="") for value in values} | {quote_plus(value) for value in values}
    return sorted((value for value in spelt if len(value) >= SHORTEST_SECRET), key=len, reverse=True)
