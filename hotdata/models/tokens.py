"""Tokens of the API: what a program shows in place of a login. Each is one user's, and may do what that user may.

A token is `hd_<prefix>_<secret>`, all of it in hexadecimal digits, so that scanners of code and logs can look for
its form. It is shown once, when it is made; the prefix stays readable, so that one that leaked can be found here.

What is kept is its SHA-256. The secret is 256 random bits: nothing can be guessed that a slow hash or a salt would
make dearer to guess, and a row is found by the hash itself, through an index. How long that takes tells at most how the
hash of a guess begins, which nobody can choose.

Rows are never deleted, since usage refers to them by name, and a name must not come to mean another token: they are
revoked. One whose user was deleted stays, too, and is dead.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime, timedelta
from typing import Any, Self

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from hotdata.models.history import MAX_NAME
from hotdata.triggers.zones import is_in_range

FORM = re.compile(r"hd_[0-9a-f]{8}_[0-9a-f]{64}")
BEGINNING = re.compile(r"hd_([0-9a-f]{8})")
USE_NOTED_EACH = timedelta(minutes=1)


def digest(secret: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(secret.encode()).hexdigest()


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def with_secret(self, secret: str) -> ApiToken | None:
        """The token `secret`, with its user, dead or alive; in one query, or in none for what looks like no token."""
        if not FORM.fullmatch(secret):
            return None
        return self.select_related("user").filter(hash=digest(secret)).first()

    def valid(self, now: datetime) -> ApiTokenQuerySet:
        """Those that the API takes."""
        unexpired = Q(expires_at=None) | Q(expires_at__gt=now)
        return self.filter(unexpired, revoked_at=None, user__is_active=True)


class ApiToken(models.Model):
    """A token of the API."""

    class State(models.TextChoices):
        VALID = "valid", _("Valid")
        EXPIRED = "expired", _("Expired")
        REVOKED = "revoked", _("Revoked")
        ORPHANED = "orphaned", _("User gone or inactive")

    name = models.SlugField(
        _("name"),
        unique=True,
        help_text=_("What it is for, such as ci or website. It can't be changed, and is never used again."),
    )
    # To cascade would free the name for another token, and let nobody delete a user who may not delete tokens.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        verbose_name=_("user"),
        help_text=_("The token may do what this user may."),
    )
    prefix = models.CharField(_("prefix"), max_length=8, editable=False)
    hash = models.CharField(_("hash"), max_length=64, unique=True, editable=False)
    read_only = models.BooleanField(
        _("read only"), default=False, help_text=_("Whatever its user may: this token may only look.")
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    created_by = models.CharField(_("created by"), max_length=MAX_NAME, editable=False)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True, help_text=_("Empty: never."))
    last_used_at = models.DateTimeField(_("last use"), null=True, editable=False)
    """To the minute."""
    revoked_at = models.DateTimeField(_("revoked"), null=True, editable=False)
    revoked_by = models.CharField(_("revoked by"), max_length=MAX_NAME, blank=True, editable=False)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def issue(
        cls, *, name: str, user: Any, by: str, read_only: bool = False, expires_at: datetime | None = None
    ) -> tuple[Self, str]:
        """Make a token in the name of `by`; it and its secret, which nobody will see again. Raises ValidationError."""
        token = cls(
            name=name, user=user, created_by=by[:MAX_NAME], read_only=read_only, expires_at=expires_at
        )
        secret = token.draw_secret()
        token.full_clean()
        token.save(force_insert=True)
        return token, secret

    def draw_secret(self) -> str:
        """Give this new token a secret, and return it."""
        self.prefix = secrets.token_hex(4)
        secret = f"hd_{self.prefix}_{secrets.token_hex(32)}"
        self.hash = digest(secret)
        return secret

    def clean(self) -> None:
        if not self._state.adding or self.expires_at is None:
            return
        if not is_in_range(self.expires_at):
            raise ValidationError({"expires_at": _("The time is out of range.")})
        if self.expires_at <= timezone.now():
            raise ValidationError({"expires_at": _("That lies in the past.")})

    @property
    def shown_prefix(self) -> str:
        """How the token begins."""
        return f"hd_{self.prefix}_…"

    @property
    def signature(self) -> str:
        """Who did what was done with it, for the record: its user and its name."""
        sign = f" (token {self.name})"
        name = "" if self.user is None else self.user.get_username()
        return f"{name[: MAX_NAME - len(sign)]}{sign}"

    def state_at(self, now: datetime) -> State:
        """Whether it is taken at `now`, or else the first reason why not."""
        if self.revoked_at is not None:
            return self.State.REVOKED
        if self.expires_at is not None and self.expires_at <= now:
            return self.State.EXPIRED
        if self.user is None or not self.user.is_active:
            return self.State.ORPHANED
        return self.State.VALID

    def revoke(self, *, by: str, now: datetime) -> bool:
        """Revoke it, for good. False when it was revoked already."""
        unrevoked = ApiToken.objects.filter(pk=self.pk, revoked_at=None)
        if not unrevoked.update(revoked_at=now, revoked_by=by[:MAX_NAME]):
            return False
        self.revoked_at, self.revoked_by = now, by[:MAX_NAME]
        return True

    def use_is_news(self, at: datetime) -> bool:
        """Whether a use at `at` is to be noted, as far as this row, as it was read, tells."""
        return self.last_used_at is None or self.last_used_at <= at - USE_NOTED_EACH

    @classmethod
    def note_use(cls, pk: int, at: datetime) -> None:
        """Note that a token was used, unless that was noted within the last minute."""
        long_ago = Q(last_used_at=None) | Q(last_used_at__lte=at - USE_NOTED_EACH)
        cls.objects.filter(long_ago, pk=pk).update(last_used_at=at)
