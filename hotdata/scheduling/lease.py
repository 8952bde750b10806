"""The lease: which of the nodes leads.

One row in the database names the holder, an epoch and an expiry on the database's clock. The protocol:

- A node takes the lease when it is free or has run out; that begins a new epoch. Until then it only looks, and
  learns how long the lease has still to run.
- The leader renews it each second. It trusts its lease until TTL after the *start* of the last renewal that
  succeeded, on its own monotonic clock, which began no later than the database's count did: so it stops
  leading before anybody else can begin.
- Trust alone fires nothing: the claim locks the lease row and checks holder, epoch and expiry in the very
  transaction that records the runs. A leader that slept through its expiry finds itself deposed there.
- On any doubt, which includes a database that can't be reached, the node steps down by itself and stands by.
"""

from __future__ import annotations

import time
from datetime import timedelta

from hotdata.models import Lease


class LeaseKeeper:
    """One node's side of the lease."""

    def __init__(self, *, node: str, ttl: timedelta) -> None:
        self._node = node
        self._ttl = ttl
        self._trusted_until = 0.0  # monotonic
        self.epoch: int | None = None
        """The epoch in which this node leads; None while it stands by."""
        self.change: int | None = None
        """What the change counter stood at when the lease was renewed; None when it was only just taken."""
        self.free_in = 0.0
        """Seconds until the lease of another runs out, as far as the last look showed."""
        self.replaced = ""
        """The node that lost the lease to this one without giving it up; it may have died."""

    @property
    def leading(self) -> bool:
        return self.epoch is not None and time.monotonic() < self._trusted_until

    def keep(self) -> bool:
        """Renew the lease, or try to take it; True when this node leads now. Raises the database's errors, having
        stepped down.
        """
        began = time.monotonic()
        epoch, self.epoch = self.epoch, None
        self.change = None if epoch is None else Lease.renew(self._node, epoch, self._ttl)
        self.epoch = self._seek() if self.change is None else epoch
        if self.epoch is not None:
            self._trusted_until = began + self._ttl.total_seconds()
        return self.leading

    def _seek(self) -> int | None:
        """Take the lease if it may be taken; return the new epoch."""
        seen = Lease.look()
        self.free_in = seen.free_in.total_seconds()
        if not seen.is_open_to(self._node, self._ttl):
            return None
        epoch = Lease.acquire(self._node, self._ttl)
        # Only if nobody led in between: then it is the successor of that one.
        if epoch == seen.epoch + 1 and seen.holder != self._node:
            self.replaced = seen.holder
        return epoch

    def lock(self) -> bool:
        """Inside a transaction: lock the lease row until its end. False, and stepped down, when we don't lead."""
        if self.epoch is not None and Lease.lock(self._node, self.epoch):
            return True
        self.epoch = None
        return False

    def release(self) -> None:
        """Hand the lease over: a standby can take it at once."""
        epoch, self.epoch = self.epoch, None
        if epoch is not None:
            Lease.release(self._node, epoch)
