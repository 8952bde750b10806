"""Usage: what was asked of each upstream, and read with each token of the API, day by day.

Counted exactly, whatever becomes of single records: each batch is added in one statement, in the transaction that
writes what it counts. A day is one of the site's time zone. What was asked of an upstream is counted once more for
ever: days are deleted by age, and a counter of metrics must not shrink.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, ClassVar, Self, TypeVar

from django.db import connections, models, router, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

Usage = TypeVar("Usage", bound="Counted")


def day_of(moment: datetime) -> date:
    """The day to which what happened at `moment` is counted, whatever zone a request has put on."""
    return moment.astimezone(timezone.get_default_timezone()).date()


class Counted(models.Model):
    """What was counted of one subject."""

    OF: ClassVar[tuple[str, ...]]
    """The fields that say of what a row is, together unique."""
    COUNTED: ClassVar[tuple[str, ...]]

    class Meta:
        abstract = True

    @classmethod
    def add(cls, counts: Sequence[Self]) -> None:
        """Add `counts` to those on record, all or none.

        Rows are locked in one order, whoever adds: the caller's transaction should add nothing else after them.
        """
        summed = _summed(counts)
        if not summed:
            return
        connection = connections[router.db_for_write(cls)]
        if connection.vendor not in ("postgresql", "sqlite"):
            for row in summed:
                of = {name: getattr(row, name) for name in cls.OF}
                more = {name: F(name) + getattr(row, name) for name in cls.COUNTED}
                cls._default_manager.get_or_create(**of)
                cls._default_manager.filter(**of).update(**more)
            return
        quote = connection.ops.quote_name
        table, names = quote(cls._meta.db_table), [*cls.OF, *cls.COUNTED]
        columns = ", ".join(quote(name) for name in names)
        row_of_marks = f"({', '.join(['%s'] * len(names))})"
        marks = ", ".join([row_of_marks] * len(summed))
        more_sql = ", ".join(
            f"{quote(name)} = {table}.{quote(name)} + excluded.{quote(name)}" for name in cls.COUNTED
        )
        unique = ", ".join(quote(name) for name in cls.OF)
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {table} ({columns}) VALUES {marks} ON CONFLICT ({unique}) DO UPDATE SET {more_sql}",  # noqa: S608 - names come from the model, values travel as parameters
                [getattr(row, name) for row in summed for name in names],
            )


class DayOfUsage(Counted):
    """What was counted of one subject in one day."""

    day = models.DateField(_("day"), help_text=_("In the time zone of the site."))

    class Meta(Counted.Meta):
        abstract = True


class Calls(Counted):
    """What was asked of an upstream."""

    COUNTED = ("calls", "failed_calls", "size")

    calls = models.PositiveBigIntegerField(_("calls"), default=0)
    failed_calls = models.PositiveBigIntegerField(_("failed calls"), default=0)
    size = models.PositiveBigIntegerField(_("size"), default=0, help_text=_("Bytes of the decoded answers."))

    class Meta(Counted.Meta):
        abstract = True


class CallTotal(Calls):
    """All that was ever asked of the upstream of one source. It only grows; outlives its source and the days."""

    OF = ("source",)

    source = models.CharField(_("source"), max_length=100, unique=True)

    class Meta:
        verbose_name = _("total of calls")
        verbose_name_plural = _("totals of calls")
        ordering = ["id"]

    def __str__(self) -> str:
        return self.source


class SourceUsage(DayOfUsage, Calls):
    """What was asked of the upstream of one source in one day. Outlives its source."""

    OF = ("day", "source")

    source = models.CharField(_("source"), max_length=100)

    class Meta:
        verbose_name = _("usage of a source")
        verbose_name_plural = _("usage of sources")
        ordering = ["-day", "source"]
        constraints = [models.UniqueConstraint(fields=["day", "source"], name="source_usage_once")]

    def __str__(self) -> str:
        return f"{self.source} {self.day}"

    @classmethod
    def add(cls, counts: Sequence[Self]) -> None:
        """As any; and add them to the totals, in the same transaction."""
        days = _summed(counts)
        with transaction.atomic(using=router.db_for_write(cls), savepoint=False):
            super().add(days)
            CallTotal.add([day.of_all_days for day in days])

    @property
    def of_all_days(self) -> CallTotal:
        """What this adds to the total of its source."""
        return CallTotal(source=self.source, calls=self.calls, failed_calls=self.failed_calls, size=self.size)


class TokenUsage(DayOfUsage):
    """What was read of one source with one token of the API in one day. Outlives both."""

    OF = ("day", "token", "source")
    COUNTED = ("reads", "failed_reads", "size")

    token = models.CharField(_("token"), max_length=100, help_text=_("Its name."))
    source = models.CharField(_("source"), max_length=100)
    reads = models.PositiveBigIntegerField(_("reads"), default=0, help_text=_("Keys that were asked for."))
    failed_reads = models.PositiveBigIntegerField(
        _("failed reads"), default=0, help_text=_("Keys that got no value.")
    )
    size = models.PositiveBigIntegerField(_("size"), default=0, help_text=_("Bytes of the answers."))

    class Meta:
        verbose_name = _("usage of a token")
        verbose_name_plural = _("usage of tokens")
        ordering = ["-day", "token", "source"]
        constraints = [models.UniqueConstraint(fields=["day", "token", "source"], name="token_usage_once")]

    def __str__(self) -> str:
        return f"{self.token} {self.source} {self.day}"


def _summed(counts: Sequence[Usage]) -> list[Usage]:
    """`counts`, with one for each of what they are of, in the order in which rows are locked."""
    if not counts:
        return []
    model = type(counts[0])
    sums: dict[Any, Usage] = {}
    for row in counts:
        of = tuple(getattr(row, name) for name in model.OF)
        if of not in sums:
            sums[of] = model(**dict(zip(model.OF, of, strict=True)))
        for name in model.COUNTED:
            setattr(sums[of], name, getattr(sums[of], name) + getattr(row, name))
    return [sums[of] for of in sorted(sums)]
