"""The API tokens in the admin: made, shown once, looked at and revoked; never changed, and never deleted.

Whoever may add tokens makes them for themselves. Only a superuser makes one for somebody else: any other would get that
user's permissions by it. The secret is in the answer to the form's POST and nowhere else: not in an address, not
in the session, and in no cache.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.widgets import AdminTextInputWidget
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models import QuerySet, Sum
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_POST

from hotdata.admin.readonly import ReadOnlyAdmin
from hotdata.models import ApiToken, TokenUsage
from hotdata.models.tokens import BEGINNING
from hotdata.models.usage import day_of
from hotdata.pages import words
from hotdata.text import is_number

LATELY = timedelta(days=30)
USERNAME = get_user_model().USERNAME_FIELD
SHOWN = ("owner", "may", "begins", "state", "made", "expiry", "used", "revocation", "read_lately")


class StateFilter(admin.SimpleListFilter):
    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("valid", gettext_lazy("Valid")), ("over", gettext_lazy("Not valid any more"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in (None, "valid", "over"):
            raise IncorrectLookupParameters
        valid = ApiToken.objects.valid(timezone.now())
        if self.value() == "valid":
            return queryset.filter(pk__in=valid)
        return queryset.exclude(pk__in=valid) if self.value() else queryset


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    change_form_template = "admin/hotdata/apitoken/change_form.html"
    list_display = ["name", "owner", "may", "begins", "state", "made", "expiry", "used"]
    list_filter = [StateFilter]
    search_help_text = gettext_lazy("A part of the name or of the user, or what the token begins with.")
    actions = ["revoke_selected"]
    fields = readonly_fields = SHOWN
    add_fieldsets = [
        (
            None,
            {
                "fields": ["name", "read_only", "expires_at"],
                "description": gettext_lazy(
                    "A token of yours: who has it may do over the API what you may. It is shown once, on the next page."
                ),
            },
        )
    ]
    add_fieldsets_for_others = [(None, {"fields": ["name", "user", "read_only", "expires_at"]})]

    # Who may

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("hotdata.add_apitoken")

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("hotdata.change_apitoken")

    # The list

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("user")

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        return ["name", "prefix", f"user__{USERNAME}"]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Of a token that somebody has found somewhere, its beginning is what is known here."""
        begins = BEGINNING.match(search_term.strip())
        return super().get_search_results(request, queryset, begins[1] if begins else search_term)

    @admin.action(description=gettext_lazy("Revoke selected tokens"), permissions=["revoke"])
    def revoke_selected(self, request: HttpRequest, tokens: QuerySet[ApiToken]) -> None:
        revoked = sum(self._revoke(request, token) for token in tokens)
        if revoked:
            text = ngettext("%(n)d token is revoked.", "%(n)d tokens are revoked.", revoked)
            self.message_user(request, text % {"n": revoked}, messages.SUCCESS)
        else:
            self.message_user(request, _("The selected tokens were revoked already."), messages.WARNING)

    # A new one

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is not None:
            return super().get_fieldsets(request, obj)
        return self.add_fieldsets_for_others if request.user.is_superuser else self.add_fieldsets

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name != "user":
            return super().formfield_for_dbfield(db_field, request, **kwargs)
        return db_field.formfield(
            form_class=forms.ModelChoiceField,
            queryset=get_user_model()._default_manager.filter(is_active=True),
            to_field_name=USERNAME,
            initial=request.user.get_username(),
            widget=AdminTextInputWidget(attrs={"autocomplete": "off", "autocapitalize": "none"}),
            error_messages={"invalid_choice": _("There is no active user of this name.")},
        )

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """With one button: what comes after it is the token."""
        buttons = dict.fromkeys(("show_save_and_add_another", "show_save_and_continue"), False)
        return super().add_view(request, form_url, buttons | (extra_context or {}))

    @sensitive_variables()
    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            raise PermissionDenied
        if obj.user is None or not request.user.is_superuser:
            obj.user = request.user
        obj.created_by = request.user.get_username()
        # For `response_add`, which is given this very object. There is no such column.
        obj.secret = obj.draw_secret()
        super().save_model(request, obj, form, change)

    @sensitive_variables()
    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponse:
        """The page that shows the token, this once."""
        answer = TemplateResponse(
            request,
            "hotdata/token/made.html",
            self.admin_site.each_context(request)
            | {"title": _("Token %(name)s") % {"name": obj}, "opts": self.opts, "token": obj}
            | {"may_view": self.has_view_permission(request)},
        )
        answer["Cache-Control"] = "no-store"
        return answer

    # Its page

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        may_revoke = self.has_revoke_permission(request)
        return super().change_view(
            request, object_id, form_url, {"may_revoke": may_revoke} | (extra_context or {})
        )

    def get_urls(self) -> list[Any]:
        revoke = self.admin_site.admin_view(self.revoke_view)
        return [path("<path:object_id>/revoke/", revoke, name="hotdata_apitoken_revoke"), *super().get_urls()]

    @method_decorator(require_POST)
    def revoke_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The button "Revoke" of a token's page."""
        if not (self.has_revoke_permission(request) and self.has_view_permission(request)):
            raise PermissionDenied
        token = self.get_object(request, object_id) if is_number(object_id) else None
        if token is None:
            raise Http404
        if self._revoke(request, token):
            self.message_user(request, _("%(token)s is revoked.") % {"token": token}, messages.SUCCESS)
        else:
            self.message_user(
                request, _("%(token)s was revoked already.") % {"token": token}, messages.WARNING
            )
        return HttpResponseRedirect(reverse("admin:hotdata_apitoken_change", args=[token.pk]))

    def _revoke(self, request: HttpRequest, token: ApiToken) -> bool:
        revoked = token.revoke(by=request.user.get_username(), now=timezone.now())
        if revoked:
            self.log_change(request, token, "Revoked.")
        return revoked

    # What a row shows

    @admin.display(description=gettext_lazy("user"), ordering=f"user__{USERNAME}")
    def owner(self, token: ApiToken) -> str:
        return words.NONE if token.user is None else token.user.get_username()

    @admin.display(description=gettext_lazy("begins with"), ordering="prefix")
    def begins(self, token: ApiToken) -> SafeString:
        return format_html('<code class="hd-code hd-keep">{}</code>', token.shown_prefix)

    @admin.display(description=gettext_lazy("state"))
    def state(self, token: ApiToken) -> SafeString:
        state = token.state_at(timezone.now())
        return words.pill("ok" if state == ApiToken.State.VALID else "", state.label)

    @admin.display(description=gettext_lazy("may"), ordering="read_only")
    def may(self, token: ApiToken) -> str:
        return _("only look") if token.read_only else _("do what the user may")

    @admin.display(description=gettext_lazy("created"), ordering="created_at")
    def made(self, token: ApiToken) -> SafeString:
        return _by(token.created_at, token.created_by)

    @admin.display(description=gettext_lazy("expires"), ordering="expires_at")
    def expiry(self, token: ApiToken) -> Any:
        return _("never") if token.expires_at is None else words.ago(token.expires_at, timezone.now())

    @admin.display(
        description=gettext_lazy("last use"), ordering=models.F("last_used_at").desc(nulls_last=True)
    )
    def used(self, token: ApiToken) -> Any:
        """To the minute."""
        never = pgettext("use of a token", "never")
        return never if token.last_used_at is None else words.ago(token.last_used_at, timezone.now())

    @admin.display(description=gettext_lazy("revoked"))
    def revocation(self, token: ApiToken) -> Any:
        return words.NONE if token.revoked_at is None else _by(token.revoked_at, token.revoked_by)

    @admin.display(description=gettext_lazy("reads, last 30 days"))
    def read_lately(self, token: ApiToken) -> str:
        since = day_of(timezone.now() - LATELY)
        found = TokenUsage.objects.filter(token=token.name, day__gt=since).aggregate(
            reads=Sum("reads", default=0), failed=Sum("failed_reads", default=0)
        )
        return _("%(reads)s, of which %(failed)s got no value") % {
            name: f"{count:,}" for name, count in found.items()
        }


def _by(moment: datetime, name: str) -> SafeString:
    by = _("by %(name)s") % {"name": name}
    return format_html('{} <span class="hd-quiet">{}</span>', words.ago(moment, timezone.now()), by)
