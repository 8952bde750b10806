"""Silencing, on the pages of jobs and sources: nobody is told of it until then, and why. Both buttons are POSTs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from hotdata.models import Silence
from hotdata.models.pauses import NOTE_LIMIT
from hotdata.triggers.zones import is_in_range


class SilenceForm(forms.Form):
    until = forms.DateTimeField(
        label=gettext_lazy("Until"),
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
    )
    note = forms.CharField(
        label=gettext_lazy("A note for the others"),
        max_length=NOTE_LIMIT,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def clean_until(self) -> datetime:
        until: datetime = self.cleaned_data["until"]
        if not is_in_range(until):
            raise forms.ValidationError(_("The time is out of range."))
        if until <= timezone.now():
            raise forms.ValidationError(_("This lies in the past: the silence would have ended."))
        return until.astimezone(UTC)


class Silencing(admin.ModelAdmin):
    """The part of the jobs' and the sources' admin that silences."""

    silences_of: Silence.Of

    def get_urls(self) -> list[URLPattern]:
        name, wrap = f"hotdata_{self.opts.model_name}", self.admin_site.admin_view
        return [
            path("<path:object_id>/silence/", wrap(self.silence_view), name=f"{name}_silence"),
            path("<path:object_id>/end-silence/", wrap(self.end_silence_view), name=f"{name}_end_silence"),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """On the page of a row, it comes with its silence: ``silent_until``, ``silent_by`` and ``silent_note``.

        Within the statement that reads it, since that page asks the database for much else.
        """
        rows: QuerySet[Any] = super().get_queryset(request)
        if request.resolver_match is None or "object_id" not in request.resolver_match.kwargs:
            return rows
        silences = Silence.objects.active(timezone.now()).over(self.silences_of, OuterRef("name"))
        longest = silences.order_by("-until", "-id")
        with_silence: QuerySet[Any] = rows.annotate(
            **{f"silent_{field}": Subquery(longest.values(field)[:1]) for field in ("until", "by", "note")}
        )
        return with_silence

    def silence_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """What the page of `row` shows of its silence."""
        return {
            "silenced": row,
            "silence_form": SilenceForm(auto_id="hd-silence-%s", label_suffix=""),
            "may_silence": request.user.has_perm("hotdata.add_silence"),
            "may_end_silence": request.user.has_perm("hotdata.change_silence"),
            "silence_url": f"admin:hotdata_{self.opts.model_name}_silence",
            "end_silence_url": f"admin:hotdata_{self.opts.model_name}_end_silence",
        }

    @method_decorator(require_POST)
    def silence_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row = self._silenced(request, object_id, "hotdata.add_silence")
        form = SilenceForm(request.POST)
        if form.is_valid():
            Silence.objects.create(
                of=self.silences_of,
                name=row.name,
                until=form.cleaned_data["until"],
                note=form.cleaned_data["note"],
                by=request.user.get_username(),
                created_at=timezone.now(),
            )
            self.log_change(request, row, "Silenced.")
            self.message_user(request, _("Silenced. Alerts are on record, and nobody is told."))
        else:
            wrong = " ".join(str(error) for errors in form.errors.values() for error in errors)
            self.message_user(request, _("Not silenced: %(why)s") % {"why": wrong}, messages.ERROR)
        return self._back_to(request, row)

    @method_decorator(require_POST)
    def end_silence_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row = self._silenced(request, object_id, "hotdata.change_silence")
        silences = Silence.objects.over(self.silences_of, row.name)
        if silences.end(request.user.get_username(), timezone.now()):
            self.log_change(request, row, "Silence ended.")
            self.message_user(request, _("The silence has ended."))
        return self._back_to(request, row)

    def _silenced(self, request: HttpRequest, object_id: str, permission: str) -> Any:
        if not request.user.has_perm(permission):
            raise PermissionDenied
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        return row

    def _back_to(self, request: HttpRequest, row: Any) -> HttpResponse:
        if not self.has_view_or_change_permission(request, row):
            return HttpResponseRedirect(reverse("admin:index"))
        return HttpResponseRedirect(reverse(f"admin:hotdata_{self.opts.model_name}_change", args=[row.pk]))
