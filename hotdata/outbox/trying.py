"""Trying: one message, by one channel, once. What goes wrong is one error, which says no secret."""

from __future__ import annotations

from collections.abc import Callable

from hotdata.exceptions import HotdataError
from hotdata.models import Delivery


class NotDelivered(HotdataError):
    """The message didn't get there. ``permanent``: it never will, whoever tries again."""

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


Channel = Callable[[Delivery], None]
"""Sends a message, which blocks; raises NotDelivered."""
