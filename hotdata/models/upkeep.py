"""Upkeep: how fresh a source's entries are to be, which keys are kept so, and how that is judged.

Only the wishes are here, as fields. The planner, the refresh and the reports each follow their own.
"""

from __future__ import annotations

from datetime import timedelta

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from hotdata.windows import MAX_TEXT, Windows

MAX_HOT = 10_000
# Of the time that an entry is fresh, what passes before its refresh: its TTL may be shorter by a tenth.
FRESH_PART = 0.85


class Upkeep(models.Model):
    """The part of a source that says how it is kept fresh; without a table of its own."""

    soft_ttl = models.DurationField(
        _("fresh for"),
        default=timedelta(minutes=5),
        help_text=_("After this an entry is stale and due for refresh."),
    )
    hard_ttl = models.DurationField(
        _("kept for"),
        default=timedelta(days=1),
        help_text=_("After this without a refresh an entry is gone."),
    )
    absent_ttl = models.DurationField(
        _("absent for"),
        null=True,
        blank=True,
        default=timedelta(seconds=30),
        help_text=_(
            "A key that the upstream says doesn't exist is not asked for again before this. Empty: it may be at once."
        ),
    )
    refresh_after = models.DurationField(
        _("refresh after"),
        null=True,
        blank=True,
        help_text=_(
            "A hot key is not refreshed sooner than this. Empty: a tenth of the time that it is fresh."
        ),
    )
    max_age = models.DurationField(
        _("maximum age"),
        null=True,
        blank=True,
        help_text=_(
            "A hot key is refreshed at least this often, if the budget allows. Empty: before it is stale."
        ),
    )
    hot_keys = models.PositiveIntegerField(
        _("hot keys"),
        default=100,
        validators=[MaxValueValidator(MAX_HOT)],
        help_text=_("So many of the most-read keys are kept hot beside the pinned ones."),
    )
    windows = models.CharField(
        _("refresh windows"),
        max_length=MAX_TEXT,
        blank=True,
        help_text=_(
            "Outside of these nothing is refreshed ahead: 09:30-16:00 America/New_York mon-fri. Several are "
            "separated by semicolons. Empty: always."
        ),
    )
    objective_age = models.DurationField(
        _("objective: age"),
        null=True,
        blank=True,
        help_text=_("Reads should get values that are younger than this. Empty: no objective."),
    )
    objective_share = models.FloatField(
        _("objective: share"),
        default=0.99,
        validators=[MinValueValidator(0), MaxValueValidator(1)],
        help_text=_("The share of reads that should: 0.99 is 99 %."),
    )

    class Meta:
        abstract = True
        constraints = [
            models.CheckConstraint(
                condition=Q(soft_ttl__gt=timedelta(0), hard_ttl__gte=F("soft_ttl")),
                name="source_ttls_in_order",
            ),
            models.CheckConstraint(
                condition=Q(refresh_after__isnull=True)
                | Q(max_age__isnull=True)
                | Q(max_age__gte=F("refresh_after")),
                name="source_ages_in_order",
            ),
            models.CheckConstraint(
                condition=(Q(absent_ttl__isnull=True) | Q(absent_ttl__gt=timedelta(0)))
                & (Q(refresh_after__isnull=True) | Q(refresh_after__gt=timedelta(0)))
                & (Q(max_age__isnull=True) | Q(max_age__gt=timedelta(0)))
                & (Q(objective_age__isnull=True) | Q(objective_age__gt=timedelta(0))),
                name="source_times_positive",
            ),
            models.CheckConstraint(
                condition=Q(objective_share__gte=0, objective_share__lte=1), name="source_objective_is_share"
            ),
        ]

    def build_windows(self) -> Windows:
        """When keys are refreshed ahead; raises BadSource."""
        return Windows.parse(self.windows)

    def _unordered_times(self) -> dict[str, str]:
        """Which times contradict each other, as errors by field."""
        if None in (self.soft_ttl, self.hard_ttl):  # left empty in a form, which is an error of its own
            return {}
        errors = {}
        if self.soft_ttl > self.hard_ttl:
            errors["hard_ttl"] = gettext("An entry can't be kept for a shorter time than it is fresh.")
        if self.shortest_interval > self.longest_interval:
            errors["max_age" if self.max_age else "refresh_after"] = gettext(
                "A key would be due for its refresh before it may be refreshed: "
                "after %(longest)s, but not sooner than %(shortest)s."
            ) % {"longest": self.longest_interval, "shortest": self.shortest_interval}
        return errors

    @property
    def shortest_interval(self) -> timedelta:
        """A hot key is not refreshed again before this has passed."""
        return self.refresh_after or min(self.soft_ttl / 10, self.longest_interval)

    @property
    def longest_interval(self) -> timedelta:
        """A hot key is refreshed again when this has passed, if the budget allows."""
        return self.max_age or self.soft_ttl * FRESH_PART
