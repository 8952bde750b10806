"""One due time, and no other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from django.utils.dateformat import format as formatted
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from hotdata.exceptions import BadTrigger
from hotdata.triggers.base import Trigger


@dataclass(frozen=True, kw_only=True)
class DateTrigger(Trigger):
    """Due once, at `run_at`, which must lie inside the window that start and end leave."""

    run_at: datetime

    def __post_init__(self) -> None:
        super().__post_init__()
        self._keep_utc("run_at", self.run_at)
        if (self.starts_at and self.run_at < self.starts_at) or (self.ends_at and self.run_at > self.ends_at):
            raise BadTrigger(
                "run_at", _("The time lies outside of start and end, so it would never come due.")
            )

    def describe(self) -> str:
        local = self.run_at.astimezone(ZoneInfo(self.time_zone)).replace(tzinfo=None)
        style = (
            pgettext("how a moment is written, in the letters of Django's date filter", "Y-m-d H:i:s")
            if local.second or local.microsecond
            else pgettext("how a moment is written, in the letters of Django's date filter", "Y-m-d H:i")
        )
        moment = formatted(local, style)
        return _("Once, at %(moment)s %(zone)s") % {"moment": moment, "zone": self.time_zone}

    def _first(self, lo: datetime, hi: datetime) -> datetime | None:
        return self.run_at if lo <= self.run_at < hi else None

    def _last(self, lo: datetime, hi: datetime) -> datetime | None:
        return self._first(lo, hi)

    def _count(self, lo: datetime, hi: datetime) -> int:
        return int(lo <= self.run_at < hi)
