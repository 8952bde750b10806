"""The list of jobs: what it can be sorted and filtered by, and what can be done with one or several from there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.options import IS_POPUP_VAR
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import F, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, Least, Lower, NullIf
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST

from hotdata.admin.bounded_list import BoundedChangeList, BoundedListAdmin
from hotdata.admin.job_actions import JobActions
from hotdata.admin.job_health import PARAMETER, HealthFilter, Pill, pills
from hotdata.admin.job_pausing import PauseForm, named
from hotdata.admin.job_rows import Row, rows
from hotdata.models import Job, Run
from hotdata.observing.jobs import JobHealth, count_by_health, with_health

ROWS = 100


class JobChangeList(BoundedChangeList):
    """The jobs that are asked for: those in trouble first, the worst of them foremost; the others by their titles."""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        self.now = timezone.now()
        self._request = request
        super().__init__(request, *args, **kwargs)

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Job]:
        plain = self.root_queryset
        self.root_queryset = _sortable(with_health(plain, self.now))
        try:
            jobs: QuerySet[Job] = super().get_queryset(request, exclude_parameters)
        finally:
            self.root_queryset = plain
        return jobs

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Job]) -> list[Any]:
        if ORDER_VAR not in self.params:
            return ["attention", "shown", "pk"]
        *wanted, last = super().get_ordering(request, queryset)
        return [*wanted, "shown", last]  # the last is the key, which no two jobs share

    @cached_property
    def rows(self) -> list[Row]:
        return list(rows(self.result_list, self.now, linked=self._request.user.has_perm("hotdata.view_run")))

    @cached_property
    def pills(self) -> list[Pill]:
        """They count what is searched for, whatever its health."""
        found = self.get_queryset(self._request, exclude_parameters=[PARAMETER])
        return list(pills(self, count_by_health(found, self.now)))


def _sortable(jobs: QuerySet[Any]) -> QuerySet[Any]:
    latest = Run.objects.filter(job=OuterRef("name"), attempt__gt=0).order_by("-id")
    sortable: QuerySet[Any] = jobs.alias(
        # Whoever is well has one place among all: a run that begins or ends moves no row.
        attention=Least("severity", Value(JobHealth.LATE.severity + 1)),
        shown=Lower(Coalesce(NullIf("title", Value("")), "name")),
        ran_last=Subquery(latest.values("created_at")[:1]),
    )
    return sortable


class JobList(BoundedListAdmin, JobActions):
    """The part of the jobs' admin that lists them."""

    change_list_template = "admin/hotdata/job/change_list.html"
    list_display = ["shown", "health", "schedule", "history", "last_run", "next_run", "p95"]
    list_display_links = None  # the rows are a template of ours
    list_filter = [HealthFilter, "trigger", "task"]
    list_per_page = ROWS
    search_fields = ["name", "title", "task"]
    show_facets = ShowFacets.NEVER
    show_full_result_count = False
    actions = ["run_now", "pause", "resume"]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return JobChangeList

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """With a column for each thing that the user may do. Not where a row is only to be chosen."""
        columns: list[Any] = list(super().get_list_display(request))
        if IS_POPUP_VAR in request.GET:
            return columns
        may = {"run_one": self.has_run_permission, "scheduled": self.has_pause_permission}
        return columns + [column for column, allows in may.items() if allows(request)]

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("list/<int:pk>/run/", wrap(self.run_one_view), name="hotdata_job_list_run"),
            path("list/<int:pk>/pause/", wrap(self.pause_one_view), name="hotdata_job_list_pause"),
            path("list/<int:pk>/resume/", wrap(self.resume_one_view), name="hotdata_job_list_resume"),
            path("list/pause/", wrap(self.pause_several_view), name="hotdata_job_list_pause_several"),
            *super().get_urls(),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        acts = IS_POPUP_VAR not in request.GET
        context = {
            "title": capfirst(self.opts.verbose_name_plural),
            "filters": self.get_preserved_filters(request),
            "may_run": acts and self.has_run_permission(request),
            "may_pause": acts and self.has_pause_permission(request),
            "may_see_runs": request.user.has_perm("hotdata.view_run"),
        }
        return super().changelist_view(request, context | (extra_context or {}))

    # The heads of the columns. What stands below them is in `job_rows`.

    @admin.display(description=gettext_lazy("job"), ordering="shown")
    def shown(self, job: Job) -> str:
        return str(job)

    @admin.display(description=gettext_lazy("health"), ordering="severity")
    def health(self, job: Job) -> None: ...

    @admin.display(description=gettext_lazy("schedule"))
    def schedule(self, job: Job) -> None: ...

    @admin.display(description=gettext_lazy("last 30 runs"))
    def history(self, job: Job) -> None: ...

    @admin.display(description=gettext_lazy("last run"), ordering=F("ran_last").asc(nulls_first=True))
    def last_run(self, job: Job) -> None: ...

    @admin.display(description=gettext_lazy("next run"), ordering=F("due_next").asc(nulls_last=True))
    def next_run(self, job: Job) -> None: ...

    @admin.display(description=gettext_lazy("p95"))
    def p95(self, job: Job) -> None: ...

    @admin.display(description=gettext_lazy("run"))
    def run_one(self, job: Job) -> None: ...

    @admin.display(description=gettext_lazy("scheduled"))
    def scheduled(self, job: Job) -> None: ...

    # What the buttons of a row do

    @method_decorator(require_POST)
    def run_one_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        return self._act(request, pk, self.has_run_permission, self.request_run)

    @method_decorator(require_POST)
    def pause_one_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        return self._act(request, pk, self.has_pause_permission, self._pause_one)

    @method_decorator(require_POST)
    def resume_one_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        return self._act(request, pk, self.has_pause_permission, self._resume_one)

    def _act(
        self,
        request: HttpRequest,
        pk: int,
        is_allowed: Callable[[HttpRequest], bool],
        act: Callable[[HttpRequest, Job], object],
    ) -> HttpResponse:
        if not is_allowed(request):
            raise PermissionDenied
        job = self.get_object(request, str(pk))
        if job is None:
            raise Http404
        act(request, job)
        return self._back_to_list(request)

    def _pause_one(self, request: HttpRequest, job: Job) -> None:
        if self.set_paused(request, job, paused=True):
            self.message_user(request, _("%(job)s is paused.") % {"job": job}, messages.SUCCESS)

    def _resume_one(self, request: HttpRequest, job: Job) -> None:
        if self.set_paused(request, job, paused=False):
            self.message_user(request, _("%(job)s is scheduled again.") % {"job": job}, messages.SUCCESS)

    def _back_to_list(self, request: HttpRequest) -> HttpResponse:
        """To the list, or, for whom may not see it, to the first page."""
        if not self.has_view_or_change_permission(request):
            return HttpResponseRedirect(reverse("admin:index", current_app=self.admin_site.name))
        return HttpResponseRedirect(self._address(request))

    def _address(self, request: HttpRequest) -> str:
        """Of the list as it was filtered."""
        kept: dict[str, Any] = {"preserved_filters": self.get_preserved_filters(request), "opts": self.opts}
        here = reverse("admin:hotdata_job_changelist", current_app=self.admin_site.name)
        return str(add_preserved_filters(kept, here))

    # What can be done with several

    @admin.action(description=gettext_lazy("Run selected jobs now"), permissions=["run"])
    def run_now(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        queued = [run for job in jobs if (run := self.request_run(request, job, tell=False)) is not None]
        if not queued:
            return
        text = ngettext("%(n)d run is queued.", "%(n)d runs are queued.", len(queued)) % {"n": len(queued)}
        if request.user.has_perm("hotdata.view_run"):
            url = reverse("admin:hotdata_run_changelist", current_app=self.admin_site.name)
            text = format_html('{} <a href="{}">{}</a>', text, url, _("Show the runs"))
        self.message_user(request, text, messages.SUCCESS)

    @admin.action(description=gettext_lazy("Pause selected jobs…"), permissions=["pause"])
    def pause(self, request: HttpRequest, jobs: QuerySet[Job]) -> HttpResponse | None:
        """Ask for a note first."""
        now = timezone.now()
        active = [job for job in jobs if not job.is_paused(now)]
        if not active:
            self.message_user(request, _("The selected jobs are paused already."), messages.WARNING)
            return None
        return self._ask(request, PauseForm(initial={"jobs": [job.pk for job in active]}), active)

    @method_decorator(require_POST)
    def pause_several_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_pause_permission(request):
            raise PermissionDenied
        form = PauseForm(request.POST)
        is_right = form.is_valid()
        jobs = list(self.get_queryset(request).filter(pk__in=form.cleaned_data.get("jobs", [])))
        if not jobs:
            self.message_user(request, _("The selected jobs are gone."), messages.WARNING)
            return self._back_to_list(request)
        if not is_right:
            return self._ask(request, form, jobs)
        self._pause_all(request, jobs, form.cleaned_data)
        return self._back_to_list(request)

    def _ask(self, request: HttpRequest, form: PauseForm, jobs: list[Any]) -> HttpResponse:
        context = self.admin_site.each_context(request) | {
            "title": _("Pause jobs"),
            "opts": self.opts,
            "form": form,
            "filters": self.get_preserved_filters(request),
            "back": self._address(request),
            **named(jobs),
        }
        return TemplateResponse(request, "hotdata/job/pause_several.html", context)

    def _pause_all(self, request: HttpRequest, jobs: list[Any], words: Mapping[str, Any]) -> None:
        changed = sum(
            self.set_paused(request, job, paused=True, note=words["note"], until=words["until"])
            for job in jobs
        )
        text = ngettext("%(n)d job paused.", "%(n)d jobs paused.", changed)
        self.message_user(request, text % {"n": changed}, messages.SUCCESS)

    @admin.action(description=gettext_lazy("Resume selected jobs"), permissions=["pause"])
    def resume(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        changed = sum(self.set_paused(request, job, paused=False) for job in jobs)
        text = ngettext("%(n)d job resumed.", "%(n)d jobs resumed.", changed)
        self.message_user(request, text % {"n": changed}, messages.SUCCESS)
