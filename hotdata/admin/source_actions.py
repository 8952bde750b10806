"""What can be done with a source now, from the list and its page: each needs a permission and leaves who did it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from hotdata import actions
from hotdata.actions import Actor
from hotdata.exceptions import CacheUnavailable, HotdataError
from hotdata.freshness import demands, entries, planner, trials, wants
from hotdata.freshness.definitions import definition_of
from hotdata.freshness.trials import Trial
from hotdata.keys import check_key
from hotdata.models import Source
from hotdata.text import storable

PATIENCE = timedelta(seconds=1.5)
"""How long a person who has one key refreshed waits for it, so that the next page shows what came."""


class SourceActions(admin.ModelAdmin):
    """The part of the sources' admin that acts."""

    def has_refresh_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("hotdata.refresh_source")

    def has_pin_permission(self, request: HttpRequest) -> bool:
        """As the form asks for it, where keys are pinned, too."""
        return request.user.has_perms(["hotdata.change_source", "hotdata.add_key"])

    def has_unpin_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perms(["hotdata.change_source", "hotdata.delete_key"])

    def refresh_hot(self, request: HttpRequest, source: Source) -> None:
        """Have the hot keys refreshed in the user's name, and tell them what comes of it."""
        keys = planner.hot_set(source)
        if not keys:
            self._say(request, _("%(source)s has no hot keys."), messages.WARNING, source=source)
        elif self._may_be_refreshed(request, source):
            self._put(request, source, keys)

    def refresh_key(self, request: HttpRequest, source: Source, text: str) -> None:
        """Have the key `text` refreshed in the user's name, and tell them what came of it."""
        key = self._checked(request, text)
        if key is None or not self._may_be_refreshed(request, source):
            return
        try:
            stored = entries.read(source.name, key)
            if stored is None and not definition_of(source.name).serves(key):
                self._say(request, _("%(key)s: this source doesn't serve this key."), messages.ERROR, key=key)
            elif wants.are_served():
                self._refresh_there(request, source, key, 0.0 if stored is None else stored.fetched_at)
            else:
                self._refresh_here(request, source, key)
        except HotdataError as error:
            self._complain(request, key, error)

    def pin(self, request: HttpRequest, source: Source, text: str) -> None:
        """Pin the key `text` in the user's name, with what it was asked for last; tell them what came of it."""
        key = self._checked(request, text)
        if key is None:
            return
        try:
            placeholders = self.placeholders_of(source, key)
            if not source.fetcher:
                source.build_endpoint().check_filling(key, placeholders)
            pinned = source.pin(key, placeholders)
        except ValidationError as error:
            self._complain(request, key, " ".join(error.messages))
        except HotdataError as error:
            self._complain(request, key, error)
        else:
            if pinned:
                self.log_change(request, source, f"Pinned {key}.")
                self._say(request, _("%(key)s is pinned: it is kept hot."), messages.SUCCESS, key=key)
            else:
                self._say(request, _("%(key)s was pinned already."), messages.INFO, key=key)

    def unpin(self, request: HttpRequest, source: Source, text: str) -> None:
        """Unpin the key `text` in the user's name, and tell them."""
        key = self._checked(request, text)
        if key is None:
            return
        if source.unpin(key):
            self.log_change(request, source, f"Unpinned {key}.")
            text = _("%(key)s is pinned no more: it is kept hot while it is read.")
            self._say(request, text, messages.SUCCESS, key=key)
        else:
            self._say(request, _("%(key)s was not pinned."), messages.INFO, key=key)

    def try_out(self, request: HttpRequest, source: Source, text: str) -> Trial | None:
        """Ask the upstream for the key `text` in the user's name; None when it can't be, and why not they are told."""
        key = self._checked(request, text)
        if key is None:
            return None
        try:
            wait = trials.wait_for_turn(source.name, str(request.user.pk))
            if wait:
                again = _("That was often enough. Try again in %(seconds)d s.")
                self._say(request, again, messages.WARNING, seconds=wait.seconds + 1)
                return None
            placeholders = self.placeholders_of(source, key)
            self.log_change(request, source, f"Tested {key}.")
            return trials.try_out(source, key, placeholders)
        except HotdataError as error:
            self._complain(request, key, error)
            return None

    def placeholders_of(self, source: Source, key: str) -> Mapping[str, str]:
        """What the checked `key` is asked for with beside itself: as it was pinned, or else as it was asked last."""
        if source.fetcher or not source.build_endpoint().placeholders:
            return {}
        pinned = source.placeholders_by_key()
        if key in pinned:
            return pinned[key]
        stored = entries.read(source.name, key)
        return {} if stored is None else stored.placeholders

    def _put(self, request: HttpRequest, source: Source, keys: Sequence[str]) -> None:
        try:
            if not actions.refresh(Actor.of(request), source, keys):
                text = _(
                    "%(source)s: nothing was asked for, since no run of refresh_due is there to do it. "
                    "Start a scheduler, or refresh single keys."
                )
                self._say(request, text, messages.WARNING, source=source)
                return
        except CacheUnavailable as error:
            self._complain(request, str(source), error)
            return
        text = ngettext(
            "%(source)s: %(n)d key is being refreshed, as fast as the budget allows.",
            "%(source)s: %(n)d keys are being refreshed, as fast as the budget allows.",
            len(keys),
        )
        self._say(request, text, messages.SUCCESS, source=source, n=len(keys))

    def _refresh_there(self, request: HttpRequest, source: Source, key: str, fetched_at: float) -> None:
        demands.put(source.name, [key])
        self.log_change(request, source, f"Refresh of {key} asked for.")
        if demands.await_newer(source.name, key, fetched_at, patience=PATIENCE):
            self._say(request, _("%(key)s was refreshed by the scheduler."), messages.SUCCESS, key=key)
        else:
            text = _("%(key)s: the scheduler was asked, but nothing new has come yet. See the API calls.")
            self._say(request, text, messages.WARNING, key=key)

    def _refresh_here(self, request: HttpRequest, source: Source, key: str) -> None:
        self.log_change(request, source, f"Refresh of {key} asked for.")
        if demands.fetch_here(source, key) is None:
            self._say(request, _("%(key)s is being fetched already."), messages.INFO, key=key)
        else:
            text = _("%(key)s was refreshed here, since no scheduler keeps data fresh at the moment.")
            self._say(request, text, messages.SUCCESS, key=key)

    def _may_be_refreshed(self, request: HttpRequest, source: Source) -> bool:
        if not source.enabled:
            self._say(request, _("%(source)s is switched off."), messages.ERROR, source=source)
        return source.enabled

    def _checked(self, request: HttpRequest, text: str) -> str | None:
        try:
            return check_key(text)
        except ValueError as error:
            self._say(request, "%(why)s", messages.ERROR, why=error)
            return None

    def _complain(self, request: HttpRequest, what: str, why: object) -> None:
        self._say(request, "%(what)s: %(why)s", messages.ERROR, what=what, why=why)

    def _say(self, request: HttpRequest, text: str, level: int, **facts: object) -> None:
        self.message_user(request, storable(text % facts), level)
