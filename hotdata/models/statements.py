"""Statements: what a month came to, by source and by token. Once issued they stay; a correction is a new one.

The lines of a statement are inserted first, and the statement last, in one transaction: from then on it is sealed.
Triggers of the database (PostgreSQL and SQLite) refuse any change of either table, and lines for a statement that is
there; what is here refuses the same a little earlier, with better words. A migration that makes one of these tables
anew on SQLite, which Django does to alter them, has to make the triggers anew, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, NoReturn, TypedDict, TypeVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from hotdata.currencies import rounded
from hotdata.exceptions import Sealed
from hotdata.models.exact import ExactDecimalField
from hotdata.models.history import MAX_NAME
from hotdata.models.prices import MONTH, Kind, PriceList
from hotdata.tiers import EXACT

LINE = ("kind", "source", "token", "count", "failed", "size", "charged", "tiers", "currency", "amount")
"""What a line says, by the names of its fields."""

Row = TypeVar("Row", bound=models.Model)


class Total(TypedDict):
    """What the lines of one kind come to in one currency; ``amount`` is a decimal number as text."""

    kind: str
    currency: str
    amount: str


class SealedQuerySet(models.QuerySet[Row]):
    """Rows that are inserted and read, and nothing else."""

    def update(self, **kwargs: Any) -> NoReturn:
        raise Sealed

    def delete(self) -> NoReturn:
        raise Sealed

    # As on Django's own.
    update.alters_data = True  # type: ignore[attr-defined]
    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


class SealedModel(models.Model):
    """A row that stays as it was made."""

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise Sealed
        super().save(*args, **(kwargs | {"force_insert": True}))

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise Sealed


class StatementQuerySet(SealedQuerySet["Statement"]):
    def latest_of(self, month: str) -> Statement | None:
        """The statement of `month` that holds: the last correction, or the one that was issued first."""
        return self.filter(month=month).order_by("-revision").first()


class Statement(SealedModel):
    """The statement of a month, by what was on record when it was issued. A correction has all lines anew."""

    number = models.CharField(_("number"), max_length=20, unique=True, help_text=_("Month and revision."))
    month = models.CharField(_("month"), max_length=7, validators=[MONTH])
    revision = models.PositiveSmallIntegerField(_("revision"), help_text=_("From 2 on: a correction."))
    issued_at = models.DateTimeField(_("issued at"), help_text=_("Of the usage that was on record then."))
    issued_by = models.CharField(_("issued by"), max_length=MAX_NAME, blank=True)
    totals = models.JSONField(
        _("totals"), default=list, help_text=_("By kind and currency; amounts are exact decimals.")
    )

    objects = StatementQuerySet.as_manager()

    class Meta:
        verbose_name = _("statement")
        verbose_name_plural = _("statements")
        ordering = ["-month", "-revision"]
        permissions = [("issue_statement", _("Can issue statements, and send them again"))]
        constraints = [
            models.UniqueConstraint(fields=["month", "revision"], name="statement_once"),
            models.CheckConstraint(condition=Q(revision__gte=1), name="statement_revision_positive"),
        ]

    def __str__(self) -> str:
        return self.number

    @staticmethod
    def number_of(month: str, revision: int) -> str:
        return f"{month}/{revision}"

    def corrected(self) -> Statement | None:
        """The one that this one corrects."""
        return Statement.objects.filter(month=self.month, revision=self.revision - 1).first()

    def correction(self) -> Statement | None:
        """The one that corrects this one."""
        return Statement.objects.filter(month=self.month, revision=self.revision + 1).first()


class StatementLine(SealedModel):
    """What one source, or one token's reads of it, came to in the month of a statement."""

    statement = models.ForeignKey(
        Statement,
        verbose_name=_("statement"),
        to_field="number",
        on_delete=models.PROTECT,
        related_name="lines",
    )
    kind = models.CharField(_("kind"), max_length=10, choices=Kind)
    source = models.CharField(_("source"), max_length=100)
    token = models.CharField(_("token"), max_length=100, blank=True)
    count = models.PositiveBigIntegerField(_("count"), help_text=_("Of calls, or reads."))
    failed = models.PositiveBigIntegerField(_("failed"))
    size = models.PositiveBigIntegerField(_("bytes"))
    charged = models.PositiveBigIntegerField(_("charged"), help_text=_("How many of them have a price."))
    tiers = models.TextField(
        _("prices"), blank=True, help_text=_("As they were; empty where there were none.")
    )
    currency = models.CharField(_("currency"), max_length=3, blank=True)
    amount = ExactDecimalField(_("amount"), max_length=60, null=True, blank=True)

    objects = SealedQuerySet["StatementLine"].as_manager()

    class Meta:
        verbose_name = _("line of a statement")
        verbose_name_plural = _("lines of statements")
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["statement", "kind", "source", "token"], name="statement_line_once"
            ),
            models.CheckConstraint(
                condition=Q(kind__in=["calls", "reads"]), name="statement_line_kind_known"
            ),
        ]

    def __str__(self) -> str:
        return " ".join(filter(None, [self.statement_id, self.kind, self.source, self.token]))

    def charge(self, prices: PriceList) -> None:
        """Work out the amount by these prices: exactly, and rounded once, to the currency's smallest unit."""
        self.charged = prices.charged(self.count, self.failed)
        self.tiers, self.currency = prices.tiers, prices.currency
        self.amount = rounded(prices.cost(self.count, self.failed), prices.currency)

    @property
    def facts(self) -> tuple[Any, ...]:
        """All that it says, to compare it with."""
        return tuple(getattr(self, name) for name in LINE)


class Totals:
    """Sums of amounts by kind and currency. Nothing is converted, and what is paid and what is earned stay apart."""

    def __init__(self, totals: Iterable[Total] = ()) -> None:
        self._sums = {(total["kind"], total["currency"]): Decimal(total["amount"]) for total in totals}

    def add(self, line: StatementLine) -> None:
        if line.amount is not None:
            of = (line.kind, line.currency)
            self._sums[of] = EXACT.add(self._sums.get(of, Decimal(0)), line.amount)

    def minus(self, others: Totals) -> Totals:
        """How much more it is than `others`, where it isn't the same."""
        more = Totals()
        for of in self._sums.keys() | others._sums.keys():
            difference = EXACT.subtract(self._sums.get(of, Decimal(0)), others._sums.get(of, Decimal(0)))
            if difference:
                more._sums[of] = difference
        return more

    def to_json(self) -> list[Total]:
        return [
            Total(kind=kind, currency=currency, amount=format(amount, "f"))
            for (kind, currency), amount in sorted(self._sums.items())
        ]
