"""How far a job keeps off its due time, so that jobs of one schedule don't all start at once.

The offset is drawn from the job's name: the same in every process and after every restart, and never added up.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta

from django.utils.translation import gettext as _

from hotdata.exceptions import BadTrigger

MILLISECOND = timedelta(milliseconds=1)


def stable_offset(seed: str, jitter: timedelta) -> timedelta:
    """An offset of whole milliseconds in [0, jitter) that depends on nothing but the arguments."""
    if jitter < timedelta(0):
        raise BadTrigger("jitter", _("The jitter can't be negative."))
    choices = jitter // MILLISECOND
    if not choices:
        return timedelta(0)
    digest = hashlib.sha256(seed.encode()).digest()
    return int.from_bytes(digest[:8]) % choices * MILLISECOND
