"""Price lists: what calls of a source's upstream cost, and reads of it with a token, from a month on."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models, transaction
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from hotdata.currencies import check_currency
from hotdata.exceptions import BadPrice
from hotdata.models.history import TrackedQuerySet, edit_history
from hotdata.models.sources import Source
from hotdata.models.usage import SourceUsage
from hotdata.tiers import MAX_TEXT, Tiers

MONTH = RegexValidator(r"\A[1-9][0-9]{3}-(0[1-9]|1[0-2])\Z", _("Write a month as 2026-11."))


class Kind(models.TextChoices):
    """What is counted and has a price."""

    CALLS = "calls", _("Calls of the upstream")
    READS = "reads", _("Reads with a token")


class PriceListQuerySet(TrackedQuerySet["PriceList"]):
    def of_month(self, month: str) -> Mapping[tuple[str, str], PriceList]:
        """The price lists that hold in `month`, by kind and source."""
        begun = self.filter(valid_from__lte=month).order_by("valid_from")
        return {(prices.kind, prices.source): prices for prices in begun}  # the latest comes last, and stays


class PriceList(models.Model):
    """The prices of one source and kind from a month on, until another list takes over. Outlives its source."""

    source = models.CharField(_("source"), max_length=100)
    kind = models.CharField(
        _("kind"),
        max_length=10,
        choices=Kind,
        default=Kind.CALLS,
        help_text=_("Reads are counted for each token by itself, with tiers of its own."),
    )
    valid_from = models.CharField(
        _("valid from"),
        max_length=7,
        validators=[MONTH],
        help_text=_("The first month, such as 2026-11. They hold until a later list takes over."),
    )
    currency = models.CharField(_("currency"), max_length=3, help_text=_("A code of ISO 4217, such as EUR."))
    tiers = models.TextField(
        _("prices"),
        max_length=MAX_TEXT,
        help_text=_(
            "Of one call or read, by how many there were in the month: first 10,000 free, next 90,000 at 0.002, then "
            "0.001. One price for all: 0.002"
        ),
    )
    failed_charged = models.BooleanField(
        _("failed ones are charged"), default=True, help_text=_("Off: those that failed cost nothing.")
    )

    objects = PriceListQuerySet.as_manager()
    history = edit_history(_("edit of a price list"), _("edits of price lists"))

    class Meta:
        verbose_name = _("price list")
        verbose_name_plural = _("price lists")
        ordering = ["source", "kind", "-valid_from"]
        constraints = [
            models.UniqueConstraint(fields=["source", "kind", "valid_from"], name="price_list_once"),
            models.CheckConstraint(condition=Q(kind__in=["calls", "reads"]), name="price_list_kind_known"),
        ]

    def __str__(self) -> str:
        return f"{self.source} {self.kind} {self.valid_from}"

    def clean(self) -> None:
        """Bring currency and prices into their one form, and check the rest. Raises ValidationError by field."""
        errors: dict[str, Any] = {}
        if not self._source_is_known():
            errors["source"] = _("There is no source of this name, and none of it was used.")
        for bring in (self._bring_currency, self._bring_tiers):
            try:
                bring()
            except BadPrice as error:
                errors[error.field] = str(error)
        if errors:
            raise ValidationError(errors)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Raises BadPrice: no list is on record that can't be worked with."""
        self._bring_currency()
        self._bring_tiers()
        with transaction.atomic():  # the list and its history, or neither
            super().save(*args, **kwargs)

    def charged(self, count: int, failed: int) -> int:
        """How many of `count`, of which `failed` failed, have a price."""
        return count if self.failed_charged else count - failed

    def cost(self, count: int, failed: int) -> Decimal:
        """What that many in a month cost, exactly."""
        return Tiers.parse(self.tiers).amount(self.charged(count, failed))

    def _source_is_known(self) -> bool:
        return (
            Source.objects.filter(name=self.source).exists()
            or SourceUsage.objects.filter(source=self.source).exists()
        )

    def _bring_currency(self) -> None:
        self.currency = check_currency(self.currency)

    def _bring_tiers(self) -> None:
        self.tiers = str(Tiers.parse(self.tiers))
