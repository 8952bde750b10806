"""The jobs page: definitions, and what can be done with them now. All that changes something is a POST."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST

from hotdata import registry
from hotdata.admin.fields import TypedJSONField
from hotdata.exceptions import BadParams, BadTrigger, UnknownTask
from hotdata.models import Job, Run, Schedule
from hotdata.models.runs import Cause, State

PREVIEWED = 5  # due times shown on a job's page
PAUSE_FIELDS = {"paused", "pause_note", "paused_until"}


@admin.register(Job)
class JobAdmin(admin.ModelAdmin):
    change_list_template = "hotdata/change_list.html"
    formfield_overrides = {models.JSONField: {"form_class": TypedJSONField}}
    list_display = ["name", "title", "task", "schedule", "next_run", "last_state", "active"]
    list_filter = ["paused", "trigger", "task"]
    search_fields = ["name", "title"]
    actions = ["run_now", "pause", "resume"]
    fieldsets = [
        (None, {"fields": ["name", "title", "task", "params"]}),
        (
            gettext_lazy("When"),
            {
                "fields": [
                    "trigger",
                    "cron",
                    "interval",
                    "run_at",
                    "time_zone",
                    "starts_at",
                    "ends_at",
                    "jitter",
                    "next_fires",
                ],
                "description": gettext_lazy(
                    "Fill in the field of the chosen trigger; the other two are ignored."
                ),
            },
        ),
        (
            gettext_lazy("Pause"),
            {"fields": ["paused", "pause_note", "paused_until", "paused_by", "pause_after_failures"]},
        ),
        (
            gettext_lazy("Policies"),
            {
                "fields": [
                    "misfire_grace_time",
                    "coalesce",
                    "overlap",
                    "max_instances",
                    "isolation",
                    "recover",
                    "keep_runs",
                ]
            },
        ),
        (gettext_lazy("Attempts"), {"fields": ["timeout", "max_retries", "retry_delay", "retry_delay_max"]}),
    ]

    # The list

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        """Jobs with what the list shows of other tables, in the same query."""
        latest = Run.objects.filter(job=OuterRef("name")).order_by("-id")
        due = Schedule.objects.filter(id=OuterRef("name"))
        jobs: QuerySet[Job] = super().get_queryset(request)
        return jobs.annotate(
            latest_state=Subquery(latest.values("state")[:1]),
            due_next=Subquery(due.values("next_run_time")[:1]),
        )

    @admin.display(description=gettext_lazy("schedule"))
    def schedule(self, job: Job) -> str:
        try:
            return job.build_trigger().describe()
        except BadTrigger as error:
            return _("Can't be scheduled: %(why)s") % {"why": error}

    @admin.display(description=gettext_lazy("next run"), ordering="due_next")
    def next_run(self, job: Any) -> object:
        return job.due_next

    @admin.display(description=gettext_lazy("last run"), ordering="latest_state")
    def last_state(self, job: Any) -> str:
        return str(State(job.latest_state).label) if job.latest_state else "–"

    @admin.display(description=gettext_lazy("active"), ordering="paused", boolean=True)
    def active(self, job: Job) -> bool:
        return not job.is_paused(timezone.now())

    # The form

    def get_readonly_fields(self, request: HttpRequest, obj: Job | None = None) -> list[str]:
        fixed = ["name", "next_fires", "paused_by"] if obj else ["next_fires", "paused_by"]
        return fixed if self.has_pause_permission(request) else [*fixed, *PAUSE_FIELDS]

    def save_model(self, request: HttpRequest, obj: Job, form: Any, change: bool) -> None:
        """Save the job; a pause that this makes or changes is in the name of whoever does."""
        if obj.paused and not PAUSE_FIELDS.isdisjoint(form.changed_data):
            obj.paused_by = request.user.get_username()
        super().save_model(request, obj, form, change)

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        """Offer the registered tasks; whether one exists is still the job's own to check."""
        if db_field.name == "task":
            offered = [(task.name, f"{task.name} – {task.description}") for task in registry.tasks]
            kwargs["widget"] = forms.Select(choices=[("", "---------"), *offered])
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    @admin.display(description=gettext_lazy("next due times"))
    def next_fires(self, job: Job) -> str:
        """What the stored definition comes to; an edit shows after it is saved."""
        try:
            fires = (
                job.next_fires(PREVIEWED, timezone.now())
                if job.pk and not job.is_paused(timezone.now())
                else []
            )
        except BadTrigger:
            fires = []
        return (
            format_html_join(mark_safe("<br>"), "{}", ((f"{at:%Y-%m-%d %H:%M:%S %Z}",) for at in fires))
            or "–"
        )

    # What can be done

    def has_run_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("hotdata.run_job")

    def has_pause_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("hotdata.pause_job")

    @admin.action(description=gettext_lazy("Run selected jobs now"), permissions=["run"])
    def run_now(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        for job in jobs:
            self._request_run(request, job)

    @admin.action(description=gettext_lazy("Pause selected jobs"), permissions=["pause"])
    def pause(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        self._set_paused(request, jobs, paused=True)

    @admin.action(description=gettext_lazy("Resume selected jobs"), permissions=["pause"])
    def resume(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        self._set_paused(request, jobs, paused=False)

    def _set_paused(self, request: HttpRequest, jobs: QuerySet[Job], *, paused: bool) -> None:
        changed = 0
        for job in jobs:
            try:
                if not job.set_paused(paused, by=request.user.get_username() if paused else ""):
                    continue
            except BadTrigger as error:
                self.message_user(request, f"{job}: {error}", messages.ERROR)
                continue
            self.log_change(request, job, _("Paused.") if paused else _("Resumed."))
            changed += 1
        text = (
            ngettext("%(n)d job paused.", "%(n)d jobs paused.", changed)
            if paused
            else ngettext("%(n)d job resumed.", "%(n)d jobs resumed.", changed)
        )
        self.message_user(request, text % {"n": changed}, messages.SUCCESS)

    def get_urls(self) -> list[URLPattern]:
        run = path("<path:object_id>/run/", self.admin_site.admin_view(self.run_view), name="hotdata_job_run")
        return [run, *super().get_urls()]

    @method_decorator(require_POST)
    def run_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The "Run now" button of a job's page."""
        if not self.has_run_permission(request):
            raise PermissionDenied
        job = self.get_object(request, object_id)
        if job is None:
            raise Http404
        run = self._request_run(request, job)
        if run is None or not request.user.has_perm("hotdata.view_run"):
            return HttpResponseRedirect(reverse("admin:hotdata_job_change", args=[job.pk]))
        return HttpResponseRedirect(reverse("admin:hotdata_run_change", args=[run.pk]))

    def _request_run(self, request: HttpRequest, job: Job) -> Run | None:
        """Ask for a run in the user's name, and tell them what came of it."""
        try:
            run = job.request_run(Cause.MANUAL, by=request.user.get_username())
        except (BadParams, UnknownTask) as error:
            self.message_user(request, f"{job}: {error}", messages.ERROR)
            return None
        self.log_change(request, job, _("Run now: run %(id)d.") % {"id": run.pk})
        self.message_user(
            request, _("%(job)s: run %(id)d is queued.") % {"job": job, "id": run.pk}, messages.SUCCESS
        )
        return run

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {"may_run": self.has_run_permission(request)} | (extra_context or {})
        return super().change_view(request, object_id, form_url, context)
