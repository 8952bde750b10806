"""The change counter: one row that every edit bumps in its own transaction.

The leader polls it, so an edit is followed within one poll, and never before it is committed. The bell that
follows the commit only makes it look sooner. It is bumped last in a transaction: the row is locked from then
until the commit, and all edits queue for it.
"""

from __future__ import annotations

from django.db import models, transaction
from django.db.models import F

from hotdata import bell


class ChangeCounter(models.Model):
    """A single row (``id=1``) whose value only grows."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    value = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="changecounter_single_row")]

    def __str__(self) -> str:
        return f"change {self.value}"

    @classmethod
    def bump(cls) -> None:
        """Tell the leader, at this transaction's commit, that something it should look at has changed."""
        if not cls.objects.filter(id=1).update(value=F("value") + 1):
            ChangeCounter.objects.bulk_create([ChangeCounter(value=1)], ignore_conflicts=True)
        transaction.on_commit(bell.ring)

    @classmethod
    def current(cls) -> int:
        return cls.objects.filter(id=1).values_list("value", flat=True).first() or 0
