"""The page of a source: how it does, its form, and what can be done with it. All that changes something is a POST."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from hotdata.admin.silencing import Silencing
from hotdata.admin.source_actions import SourceActions
from hotdata.admin.source_form import has_too_many_keys
from hotdata.admin.source_record import record_of
from hotdata.models import Silence, Source

SEARCH, PAGE = "key", "page"
"""What the table of keys is asked for, in the page's address."""


class SourcePage(Silencing, SourceActions):
    """The part of the sources' admin around the form."""

    silences_of = Silence.Of.SOURCE

    def get_urls(self) -> list[URLPattern]:
        views = {
            "refresh": self.refresh_view,
            "pin": self.pin_view,
            "unpin": self.unpin_view,
            "try": self.try_view,
        }
        return [
            path(f"<path:object_id>/{name}/", self.admin_site.admin_view(view), name=f"hotdata_source_{name}")
            for name, view in views.items()
        ] + super().get_urls()

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        if change and obj is not None:
            now = timezone.now()
            record = record_of(
                _saved(obj), now, searched=request.GET.get(SEARCH, ""), page=request.GET.get(PAGE, "1")
            )
            context |= {
                "now": now,
                "record": record,
                "may_refresh": self.has_refresh_permission(request) and record.source.enabled,
                "may_try": self.has_refresh_permission(request),
                "may_pin": self.has_pin_permission(request),
                "may_unpin": self.has_unpin_permission(request),
                "try_first": next(iter(record.source.pinned_keys()), ""),
                "too_many_keys": has_too_many_keys(obj),
                "may_see_calls": request.user.has_perm("hotdata.view_apicall"),
                **self.silence_context(request, obj),
            }
        return super().render_change_form(request, context, add, change, form_url, obj)

    @method_decorator(require_POST)
    def refresh_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The "Refresh now" button of a key, and "Refresh all now"."""
        source = self._asked_of(request, object_id, self.has_refresh_permission)
        if "key" in request.POST:
            self.refresh_key(request, source, request.POST["key"])
        else:
            self.refresh_hot(request, source)
        return self._back(request, source)

    @method_decorator(require_POST)
    def pin_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        source = self._asked_of(request, object_id, self.has_pin_permission)
        self.pin(request, source, request.POST.get("key", ""))
        return self._back(request, source)

    @method_decorator(require_POST)
    def unpin_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        source = self._asked_of(request, object_id, self.has_unpin_permission)
        self.unpin(request, source, request.POST.get("key", ""))
        return self._back(request, source)

    @method_decorator(require_POST)
    def try_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The "Test fetch" button. Its answer is a page of its own: to load it again is to ask again."""
        source = self._asked_of(request, object_id, self.has_refresh_permission)
        key = request.POST.get("key", "")
        trial = self.try_out(request, source, key)
        context = self.admin_site.each_context(request) | {
            "title": _("Test fetch"),
            "opts": self.opts,
            "object": source,
            "source": source,
            "trial": trial,
            "key": key,
        }
        return TemplateResponse(request, "hotdata/source/trial.html", context)

    def _asked_of(
        self, request: HttpRequest, object_id: str, has_permission: Callable[[HttpRequest], bool]
    ) -> Source:
        if not has_permission(request):
            raise PermissionDenied
        source = self.get_object(request, object_id)
        if source is None:
            raise Http404
        return _saved(source)

    def _back(self, request: HttpRequest, source: Source) -> HttpResponse:
        """To the page of the source, where the table of keys shows what it did; or to where the user may look."""
        if not self.has_view_or_change_permission(request, source):
            return HttpResponseRedirect(reverse("admin:index"))
        asked = {
            name: request.POST[f"table_{name}"]
            for name in (SEARCH, PAGE)
            if request.POST.get(f"table_{name}")
        }
        page = reverse("admin:hotdata_source_change", args=[source.pk])
        return HttpResponseRedirect(f"{page}?{urlencode(asked)}#keys" if asked else f"{page}#keys")


def _saved(source: Source) -> Source:
    """`source` as it is on record: a form that is refused shows its page again with what was typed into it."""
    return Source.objects.prefetch_related("pinned").get(pk=source.pk)
