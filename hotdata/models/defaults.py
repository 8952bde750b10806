"""What `setup_hotdata` has provided already, so that it never brings back what an operator deleted."""

from __future__ import annotations

from typing import Any

from django.db import models

from hotdata.models.sources import Source


class Provided(models.Model):
    """The name of one default that was made once; and of a source, how it was made or moved last."""

    kind = models.CharField(max_length=20)
    name = models.CharField(max_length=100)
    upstream = models.CharField(
        max_length=20, default="demo", help_text="Of a source: the upstream it is for."
    )
    base_url = models.CharField(
        max_length=500, blank=True, help_text="Of a source: the address it was made with."
    )
    definition = models.JSONField(
        default=dict, blank=True, help_text="Of a source: all that it was made with."
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "name"], name="provided_once")]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    def is_as_made(self, source: Source) -> bool:
        """Whether nobody has edited `source` or its pinned keys since."""
        as_made: dict[str, Any] = self.definition
        return source.definition() == as_made

    def remember(self, source: Source, upstream: str) -> None:
        """`source` has been made for `upstream`, or moved to it."""
        self.upstream, self.base_url, self.definition = upstream, source.base_url, source.definition()
        self.save()

    def follow(self, source: Source) -> None:
        """`source` has got another address, and whatever else was edited of it stays edited."""
        self.base_url = source.base_url
        self.definition = self.definition | {"base_url": source.base_url}
        self.save()
