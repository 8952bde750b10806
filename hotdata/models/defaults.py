"""What `setup_hotdata` has provided already, so that it never brings back what an operator deleted."""

from __future__ import annotations

from django.db import models


class Provided(models.Model):
    """The name of one default that was made once."""

    kind = models.CharField(max_length=20)
    name = models.CharField(max_length=100)
    base_url = models.CharField(
        max_length=500, blank=True, help_text="Of a source: the address it was made with."
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "name"], name="provided_once")]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"
