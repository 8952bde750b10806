"""The admin site: Django's own, with the dashboard as its first page and the navigation that operators need.

A project takes it with an `AdminConfig` whose `default_site` is `hotdata.pages.site.HotdataSite`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from hotdata.pages import dashboard
from hotdata.pages.access import may_see

NAVIGATION = (
    ("job", _("Jobs")),
    ("run", _("Runs")),
    ("source", _("Sources")),
    ("alert", _("Alerts")),
    ("component", _("Health")),
    ("report", _("Reports")),
)
"""The models in the navigation, for whom may see them."""
MORE = (
    ("apicall", _("API calls")),
    ("node", _("Nodes")),
    ("statement", _("Statements")),
    ("delivery", _("Deliveries")),
    ("silence", _("Silences")),
    ("apitoken", _("API tokens")),
)
"""Those in its menu, in which all other tables are, too: a row of a dozen links is none any more."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """One link of the navigation."""

    label: Any
    url: str
    current: bool


class HotdataSite(admin.AdminSite):
    site_header = site_title = "hotdata"
    index_title = _("Dashboard")
    login_template = "hotdata/login.html"
    site_url = None  # there is nothing else on this site: its root leads here
    enable_nav_sidebar = False  # the lists need the width

    def get_urls(self) -> list[URLPattern | URLResolver]:
        tables = path("tables/", self.admin_view(self.tables), name="tables")
        return [tables, *super().get_urls()]

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        let_in = self.has_permission(request)
        links, more = (list(self._links(request)), list(self._more(request))) if let_in else ([], [])
        in_more = any(link.current for link in more)
        return super().each_context(request) | {"navigation": links, "more": more, "in_more": in_more}

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The dashboard."""
        now = timezone.now()
        context = self.each_context(request) | {
            "title": self.index_title,
            "now": now,
            "dashboard": dashboard.build(request.user, now),
            **(extra_context or {}),
        }
        return TemplateResponse(request, self.index_template or "hotdata/dashboard.html", context)

    def tables(self, request: HttpRequest) -> HttpResponse:
        """Django's own index: every model that the user may see, those of other apps, too."""
        context = self.each_context(request) | {
            "title": _("All tables"),
            "app_list": self.get_app_list(request),
        }
        return TemplateResponse(request, "admin/index.html", context)

    def _links(self, request: HttpRequest) -> Iterator[Link]:
        index = reverse("admin:index", current_app=self.name)
        yield Link(label=_("Dashboard"), url=index, current=request.path == index)
        yield from self._lists(request, NAVIGATION)

    def _more(self, request: HttpRequest) -> Iterator[Link]:
        yield from self._lists(request, MORE)
        tables = reverse("admin:tables", current_app=self.name)
        yield Link(label=_("All tables"), url=tables, current=request.path == tables)

    def _lists(self, request: HttpRequest, models: tuple[tuple[str, Any], ...]) -> Iterator[Link]:
        """A link to the list of each of `models` that the user may see."""
        for model, label in models:
            if may_see(request.user, model):
                url = reverse(f"admin:hotdata_{model}_changelist", current_app=self.name)
                yield Link(label=label, url=url, current=request.path.startswith(url))
