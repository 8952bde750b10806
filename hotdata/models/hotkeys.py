"""What a source keeps hot beside its pinned keys, as it was last known: what is left of it when Redis is flushed.

Of the most-read keys, a snapshot, written again and again; the counts themselves are in Redis. And the guests: keys
that a task fetched, and that the source would not serve by itself. Nobody else knows that they were there, or what
they were asked for with.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, models, transaction
from django.db.models import Exists, OuterRef, Q
from django.utils.translation import gettext_lazy as _

from hotdata.keys import MAX_LENGTH
from hotdata.models.sources import Source

HALF_LIFE = timedelta(minutes=30)
LIFE = timedelta(days=1)
SLIGHTEST = 1 / 1440  # reads per minute: of a key that is read less than once a day nobody needs to know

MUCH = 1.5  # times
MANY = 0.05  # of the keys
INSERTED_AT_ONCE = 500
MAX_GUESTS = 10_000  # of a source; of more, those that are kept longest


@dataclass(frozen=True, kw_only=True)
class Guest:
    """What is known of a key that a task fetched, and that its source would not serve by itself."""

    placeholders: Mapping[str, str]
    """What it was asked for with beside itself."""
    kept_until: datetime
    """When its entry is gone, unless it is refreshed."""


class HotKey(models.Model):
    """A key that was read often when it was last seen, or is a guest. Outlives its source, but for a day at most."""

    source = models.CharField(_("source"), max_length=100)
    key = models.CharField(_("key"), max_length=MAX_LENGTH)
    reads_per_minute = models.FloatField(_("reads per minute"))
    seen_at = models.DateTimeField(_("seen at"))
    placeholders = models.JSONField(_("placeholders"), default=dict, blank=True)
    kept_until = models.DateTimeField(_("kept until"), null=True, blank=True)

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
    """Replace what is known of `source` by `scores`, reads per minute by key. All or nothing; guests stay.

    Nothing is written while almost all keys are the same, with about the same rates as `remembered` says. Of two
    processes that write at once the last one wins.
    """
    scores = {key: score for key, score in scores.items() if score >= SLIGHTEST}
    if not _changed(remembered(source, now), scores):
        return
    with transaction.atomic():
        _lock(source)
        staying = guests(source, now)
        HotKey.objects.filter(source=source).delete()
        read = [_row(source, key, now, score, staying.get(key)) for key, score in scores.items()]
        unread = [_row(source, key, now, 0.0, guest) for key, guest in staying.items() if key not in scores]
        HotKey.objects.bulk_create(read + unread, batch_size=INSERTED_AT_ONCE)


def note_guests(source: str, noted: Mapping[str, Guest], now: datetime) -> None:
    """Remember the guests of `source`, by key, beside those that are known. All or nothing."""
    rows = [_row(source, key, now, 0.0, guest) for key, guest in noted.items()]
    with transaction.atomic():
        _lock(source)
        HotKey.objects.bulk_create(
            rows,
            batch_size=INSERTED_AT_ONCE,
            update_conflicts=True,
            update_fields=["placeholders", "kept_until"],
            unique_fields=["source", "key"]
            if connection.features.supports_update_conflicts_with_target
            else None,
        )


def guests(source: str, now: datetime, keys: Collection[str] | None = None) -> dict[str, Guest]:
    """The guests of `source` whose entries are not gone by themselves, by key; of `keys` alone if they are given."""
    rows = _staying(source, now)
    if keys is not None:
        rows = rows.filter(key__in=keys)
    found = rows.values_list("key", "placeholders", "kept_until")[:MAX_GUESTS]
    return {
        key: Guest(placeholders=texts, kept_until=until) for key, texts, until in found if until is not None
    }


def guest_keys(source: str, now: datetime) -> list[str]:
    """The keys of all `guests`, those that are kept longest first."""
    return list(_staying(source, now).values_list("key", flat=True)[:MAX_GUESTS])


def _staying(source: str, now: datetime) -> models.QuerySet[HotKey]:
    return HotKey.objects.filter(source=source, kept_until__gt=now).order_by("-kept_until", "key")


def forget_old(now: datetime) -> None:
    """Delete what was not seen for a day, and is no guest of a source that is there.

    Rows that are being replaced are left alone.
    """
    with transaction.atomic():
        there = Exists(Source.objects.filter(name=OuterRef("source")))
        old = HotKey.objects.filter(
            Q(kept_until__isnull=True) | Q(kept_until__lte=now) | ~there, seen_at__lt=now - LIFE
        ).select_for_update(skip_locked=True)
        HotKey.objects.filter(id__in=list(old.values_list("id", flat=True))).delete()


def remembered(source: str, now: datetime) -> dict[str, float]:
    """The keys of `source` that were last known as hot, with their decayed reads per minute, most-read first."""
    rows = HotKey.objects.filter(source=source, seen_at__gt=now - LIFE, reads_per_minute__gte=SLIGHTEST)
    rates = {row.key: row.decayed(now) for row in rows}
    return {key: rate for key, rate in sorted(rates.items(), key=lambda pair: -pair[1]) if rate >= SLIGHTEST}


def _lock(source: str) -> None:
    """Let one writer at a time: two that replace the same rows would wait for each other in a ring."""
    list(Source.objects.select_for_update().filter(name=source).values_list("id"))


def _row(source: str, key: str, now: datetime, score: float, guest: Guest | None) -> HotKey:
    row = HotKey(source=source, key=key, reads_per_minute=score, seen_at=now)
    if guest is not None:
        row.placeholders, row.kept_until = dict(guest.placeholders), guest.kept_until
    return row


def _changed(known: Mapping[str, float], scores: Mapping[str, float]) -> bool:
    different = sum(
        key not in known or key not in scores or not 1 / MUCH <= scores[key] / known[key] <= MUCH
        for key in known.keys() | scores.keys()
    )
    return different > MANY * len(known)
