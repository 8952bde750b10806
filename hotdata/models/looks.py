"""The look: when the records were looked at last for what somebody should know of, and up to where. One row."""

from __future__ import annotations

from django.db import models


class Look(models.Model):
    """Locked by who looks, so that one does at a time."""

    ONLY = 1

    id = models.PositiveSmallIntegerField(primary_key=True, default=ONLY)
    looked_at = models.DateTimeField(null=True)
    runs_from = models.BigIntegerField(
        default=0, help_text="Runs with a smaller id had ended by then, and were looked at."
    )

    class Meta:
        verbose_name = "look"
        verbose_name_plural = "looks"

    def __str__(self) -> str:
        return f"looked at {self.looked_at}, from run {self.runs_from} on"

    @classmethod
    def lock(cls) -> Look:
        """The row, locked until the transaction ends."""
        return cls.objects.select_for_update().get_or_create(id=cls.ONLY)[0]
