"""Acceptance: which keys a source serves, and which answers of its upstream are taken for values.

Only the wishes are here, as fields. Reads follow the one part, the refresh the other.
"""

from __future__ import annotations

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from hotdata.keys import MAX_PATTERN, KeyPattern
from hotdata.payloads import Kind, PayloadRules


class KeyPolicy(models.TextChoices):
    """Which keys a reader may ask for that have no entry yet."""

    PINNED = "pinned", _("Pinned: only those that are pinned")
    PATTERN = "pattern", _("Pattern: also those that match the key pattern, fetched when first asked for")
    ANY = "any", _("Any: every key, fetched when first asked for")


class PayloadKind(models.TextChoices):
    """What a value must be, in the words of JSON."""

    ANY = Kind.ANY, _("anything")
    OBJECT = Kind.OBJECT, _("an object")
    ARRAY = Kind.ARRAY, _("an array")
    STRING = Kind.STRING, _("a string")
    NUMBER = Kind.NUMBER, _("a number")


class Acceptance(models.Model):
    """The part of a source that says what it accepts; without a table of its own."""

    key_policy = models.CharField(
        _("keys served"), max_length=10, choices=KeyPolicy, default=KeyPolicy.PINNED
    )
    key_pattern = models.CharField(
        _("key pattern"),
        max_length=MAX_PATTERN,
        blank=True,
        help_text=_("A regular expression (RE2) that the whole key must match: [A-Z]{1,5}"),
    )
    value_kind = models.CharField(
        _("kind of value"), max_length=10, choices=PayloadKind, default=PayloadKind.ANY, blank=True
    )
    required = models.JSONField(
        _("required"),
        default=list,
        blank=True,
        help_text=_('JMESPaths that must lead to something in a value: ["price", "symbol"]'),
    )
    bounds = models.JSONField(
        _("bounds"),
        default=dict,
        blank=True,
        help_text=_('JMESPath to the least and the most that a number there may be: {"price": [0, null]}'),
    )
    max_bytes = models.PositiveIntegerField(
        _("maximum size"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Of a value as JSON, in bytes. Empty: as large as an answer may be."),
    )

    class Meta:
        abstract = True
        constraints = [
            models.CheckConstraint(
                condition=Q(key_policy__in=KeyPolicy.values), name="source_key_policy_known"
            ),
            models.CheckConstraint(
                condition=~Q(key_policy=KeyPolicy.PATTERN) | ~Q(key_pattern=""),
                name="source_pattern_given",
            ),
            models.CheckConstraint(
                condition=Q(value_kind__in=PayloadKind.values), name="source_value_kind_known"
            ),
        ]

    def build_pattern(self) -> KeyPattern | None:
        """What a key that is not pinned must match, None unless the policy is `PATTERN`; raises BadSource."""
        asked_for = self.key_policy == KeyPolicy.PATTERN
        # One that the policy doesn't ask for is checked all the same: the day may come on which it does.
        pattern = KeyPattern(self.key_pattern) if self.key_pattern or asked_for else None
        return pattern if asked_for else None

    def build_rules(self) -> PayloadRules:
        """What a value must be to be stored; raises BadSource."""
        return PayloadRules(
            kind=self.value_kind, required=self.required, bounds=self.bounds, max_bytes=self.max_bytes
        )
