"""Nodes (scheduler processes) and the lease that makes one of them the leader.

All times here are the database's: node clocks may disagree, and a lease must not depend on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import connections, models, router, transaction
from django.db.models import BooleanField, DurationField, ExpressionWrapper, F, Q, sql
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from hotdata import bell
from hotdata.models.changes import ChangeCounter
from hotdata.models.prepared import Prepared

PLAUSIBLE = 10
"""TTLs. A lease that has more than so many to run is from before the database's clock was set back."""


class NodeQuerySet(models.QuerySet["Node"]):
    def alive(self, timeout: timedelta) -> NodeQuerySet:
        """Nodes heard of within `timeout`; not those that are said to have been heard of in the future.

        Such a word is from before the database's clock was set back. Who lives is heard of again soon.
        """
        return self.filter(_heard_of(timeout))

    def with_life(self, timeout: timedelta) -> models.QuerySet[Any]:
        """Nodes, each with whether it is ``alive`` and how long it was ``silent_for``."""
        return self.annotate(
            alive=ExpressionWrapper(_heard_of(timeout), output_field=BooleanField()),
            silent_for=ExpressionWrapper(Now() - F("heartbeat_at"), output_field=DurationField()),
        )


def _heard_of(timeout: timedelta) -> Q:
    return Q(heartbeat_at__gt=Now() - timeout, heartbeat_at__lt=Now() + timeout)


class Node(models.Model):
    """One ``runscheduler`` process, from its start until a day after its last heartbeat."""

    name = models.CharField(_("name"), max_length=100, unique=True)
    host = models.CharField(_("host"), max_length=255)
    pid = models.PositiveIntegerField(_("process id"))
    version = models.CharField(_("version"), max_length=20)
    started_at = models.DateTimeField(_("started at"), db_default=Now())
    heartbeat_at = models.DateTimeField(_("last heartbeat"), db_default=Now())
    leading = models.BooleanField(_("leading"), default=False)
    running = models.PositiveIntegerField(_("running runs"), default=0)

    objects = NodeQuerySet.as_manager()

    class Meta:
        verbose_name = _("node")
        verbose_name_plural = _("nodes")
        ordering = ["-started_at"]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, kw_only=True)
class Tenure:
    """Who holds the lease, as a look at it showed."""

    holder: str = ""
    epoch: int = 0
    free_in: timedelta = timedelta(0)
    """How long until it runs out, unless it is renewed; not positive when it has."""

    def is_open_to(self, node: str, ttl: timedelta) -> bool:
        """Whether `node`, who would hold it for `ttl`, may take it."""
        return self.holder in ("", node) or not timedelta(0) < self.free_in <= PLAUSIBLE * ttl

    def renewed_ago(self, ttl: timedelta) -> timedelta | None:
        """How long ago its holder took or renewed it, each time for `ttl`; None when nobody is known to hold it."""
        if not self.holder or self.free_in > PLAUSIBLE * ttl:
            return None
        return ttl - self.free_in


class Lease(models.Model):
    """A single row (``id=1``): who leads, in which epoch, until when.

    The epoch grows with each change of holder. It is the fence: a claim locks this row and goes on only in
    its own epoch, so a leader that was asleep finds itself deposed before it writes.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    holder = models.CharField(_("holder"), max_length=100, blank=True)
    epoch = models.PositiveBigIntegerField(_("epoch"), default=0)
    expires_at = models.DateTimeField(_("expires at"), db_default=Now())

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="lease_single_row")]

    def __str__(self) -> str:
        return f"{self.holder or 'nobody'} in epoch {self.epoch}"

    @classmethod
    def acquire(cls, holder: str, ttl: timedelta) -> int | None:
        """Take the lease if it is free or has run out; return the new epoch, or None while another holds it."""
        Lease.objects.bulk_create([Lease()], ignore_conflicts=True)
        # Also our own: after an error we don't know whether we hold it, and a new epoch settles that.
        free = (
            Q(holder__in=["", holder]) | Q(expires_at__lte=Now()) | Q(expires_at__gt=Now() + PLAUSIBLE * ttl)
        )
        taken = cls.objects.filter(free, id=1).update(
            holder=holder, epoch=F("epoch") + 1, expires_at=Now() + ttl
        )
        if not taken:
            return None
        return cls.objects.filter(id=1, holder=holder).values_list("epoch", flat=True).first()

    @classmethod
    def look(cls) -> Tenure:
        """Who holds the lease and for how long; for those who stand by, it is cheaper than trying to take it."""
        left = ExpressionWrapper(F("expires_at") - Now(), output_field=DurationField())
        row = cls.objects.filter(id=1).values_list("holder", "epoch", left).first()
        return Tenure() if row is None else Tenure(holder=row[0], epoch=row[1], free_in=row[2])

    @classmethod
    def renew(cls, holder: str, epoch: int, ttl: timedelta) -> int | None:
        """Prolong the lease; return what the change counter stands at, or None when the lease is no longer ours.

        One that ran out unnoticed by others is ours still. The leader does this each second, for as long as it
        lives: as one statement where the database can.
        """
        ours = cls.objects.filter(id=1, holder=holder, epoch=epoch)
        connection = connections[router.db_for_write(cls)]
        if not connection.features.can_return_rows_from_bulk_insert:
            return ChangeCounter.current() if ours.update(expires_at=Now() + ttl) else None
        update: Any = ours.query.chain(sql.UpdateQuery)
        update.add_update_values({"expires_at": Now() + ttl})
        statement, parameters = update.get_compiler(connection=connection).as_sql()
        counter = connection.ops.quote_name(ChangeCounter._meta.db_table)
        with connection.cursor() as cursor:
            cursor.execute(f"{statement} RETURNING (SELECT value FROM {counter} WHERE id = 1)", parameters)  # noqa: S608 - the name comes from the model
            row = cursor.fetchone()
        return None if row is None else row[0] or 0

    @classmethod
    def release(cls, holder: str, epoch: int) -> None:
        """Give the lease up, so that a standby can take it at once."""
        cls.objects.filter(id=1, holder=holder, epoch=epoch).update(holder="", expires_at=Now())
        transaction.on_commit(bell.ring)

    @classmethod
    def lock(cls, holder: str, epoch: int) -> bool:
        """Lock the row for the current transaction; False when another epoch has begun or time is up."""
        return bool(HELD.tuples(holder, epoch))


HELD: Prepared[Lease] = Prepared(
    Lease,
    lambda holder, epoch: (
        Lease.objects.select_for_update()
        .filter(id=1, holder=holder, epoch=epoch, expires_at__gt=Now())
        .values_list("id")
    ),
    str,
    int,
)
