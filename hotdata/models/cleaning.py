"""Cleaning: who deletes old records now. Two at once would do no harm, but twice the load, and neither the sooner."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class Cleaning(models.Model):
    """A single row (``id=1``): who cleans up, and until when others leave it to them. All on the database's clock."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    holder = models.CharField(_("holder"), max_length=100, blank=True)
    since = models.DateTimeField(_("since"), db_default=Now())
    expires_at = models.DateTimeField(_("expires at"), db_default=Now())

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="cleaning_single_row")]

    def __str__(self) -> str:
        return self.holder or "nobody"

    @classmethod
    def begin(cls, holder: str, ttl: timedelta) -> bool:
        """Whether `holder` cleans up from now on: nobody else does, or was heard of within the time that they said."""
        Cleaning.objects.bulk_create([Cleaning()], ignore_conflicts=True)
        # An end that far ahead is from before the database's clock was set back.
        free = Q(holder="") | Q(expires_at__lte=Now()) | Q(expires_at__gt=Now() + 10 * ttl)
        return bool(cls.objects.filter(free, id=1).update(holder=holder, since=Now(), expires_at=Now() + ttl))

    @classmethod
    def go_on(cls, holder: str, ttl: timedelta) -> bool:
        """Whether `holder` still cleans up, and may for another `ttl`."""
        return bool(cls.objects.filter(id=1, holder=holder).update(expires_at=Now() + ttl))

    @classmethod
    def end(cls, holder: str) -> None:
        cls.objects.filter(id=1, holder=holder).update(holder="", expires_at=Now())

    @classmethod
    def current(cls) -> Cleaning | None:
        """Who cleans up, if anybody does."""
        return cls.objects.filter(id=1, expires_at__gt=Now()).exclude(holder="").first()
