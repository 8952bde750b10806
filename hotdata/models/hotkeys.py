"""The most-read keys of each source, as they were last known: what is left of them when Redis has lost its counts.

A snapshot, written again and again; the counts themselves are in Redis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db import models, transaction
from django.utils.translation import gettext_lazy as _

from hotdata.keys import MAX_LENGTH
from hotdata.models.sources import Source

HALF_LIFE = timedelta(minutes=30)
LIFE = timedelta(days=1)
SLIGHTEST = 1 / 1440  # reads per minute: of a key that is read less than once a day nobody needs to know

MUCH = 1.5  # times
MANY = 0.05  # of the keys
INSERTED_AT_ONCE = 500


class HotKey(models.Model):
    """A key that was read often when it was last seen. Outlives its source, but for a day at most."""

    source = models.CharField(_("source"), max_length=100)
    key = models.CharField(_("key"), max_length=MAX_LENGTH)
    reads_per_minute = models.FloatField(_("reads per minute"))
    seen_at = models.DateTimeField(_("seen at"))

    class Meta:
        verbose_name = _("hot key")
        verbose_name_plural = _("hot keys")
        ordering = ["source", "-reads_per_minute", "key"]
        # Its index serves the look-up by source, too.
        constraints = [models.UniqueConstraint(fields=["source", "key"], name="hotkey_remembered_once")]

    def __str__(self) -> str:
        return f"{self.source} {self.key}"

    def decayed(self, now: datetime) -> float:
        """The reads per minute that may be expected at `now`: half as many with each `HALF_LIFE` that passed."""
        age = max(now - self.seen_at, timedelta(0))
        return self.reads_per_minute * math.exp2(-(age / HALF_LIFE))


def remember(source: str, scores: Mapping[str, float], now: datetime) -> None:
    """Replace what is known of `source` by `scores`, reads per minute by key. All or nothing.

    Nothing is written while almost all keys are the same, with about the same rates as `remembered` says. Of two
    processes that write at once the last one wins.
    """
    scores = {key: score for key, score in scores.items() if score >= SLIGHTEST}
    if not _changed(remembered(source, now), scores):
        return
    rows = [
        HotKey(source=source, key=key, reads_per_minute=score, seen_at=now) for key, score in scores.items()
    ]
    with transaction.atomic():
        # One writer at a time: two that replace the same rows would wait for each other in a ring.
        list(Source.objects.select_for_update().filter(name=source).values_list("id"))
        HotKey.objects.filter(source=source).delete()
        HotKey.objects.bulk_create(rows, batch_size=INSERTED_AT_ONCE)


def forget_old(now: datetime) -> None:
    """Delete what was not seen for a day, as of sources that are gone. Rows that are being replaced are left alone."""
    with transaction.atomic():
        old = HotKey.objects.filter(seen_at__lt=now - LIFE).select_for_update(skip_locked=True)
        HotKey.objects.filter(id__in=list(old.values_list("id", flat=True))).delete()


def remembered(source: str, now: datetime) -> dict[str, float]:
    """The keys of `source` that were last known as hot, with their decayed reads per minute, most-read first."""
    rows = HotKey.objects.filter(source=source, seen_at__gt=now - LIFE)
    rates = {row.key: row.decayed(now) for row in rows}
    return {key: rate for key, rate in sorted(rates.items(), key=lambda pair: -pair[1]) if rate >= SLIGHTEST}


def _changed(known: Mapping[str, float], scores: Mapping[str, float]) -> bool:
    different = sum(
        key not in known or key not in scores or not 1 / MUCH <= scores[key] / known[key] <= MUCH
        for key in known.keys() | scores.keys()
    )
    return different > MANY * len(known)
