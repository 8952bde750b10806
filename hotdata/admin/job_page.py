"""The page of a job, around its form: how it does, and what can be done with it. What changes something is a POST."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from hotdata.admin.job_form import FIELDS_OF, LOAD
from hotdata.admin.job_history import JobHistory
from hotdata.admin.job_preview import is_bounded, preview_of, preview_of_form
from hotdata.admin.job_record import record_of
from hotdata.admin.param_forms import ParamsForm, task_called
from hotdata.admin.silencing import Silencing
from hotdata.models import Job, Silence
from hotdata.models.pauses import NOTE_LIMIT
from hotdata.text import is_number

EDITS_SHOWN = 5
MOST_COPIES = 1000
COPIED = (
    "title", "task", "params", "trigger", "cron", "interval", "time_zone", "starts_at", "ends_at", "jitter",
    "misfire_grace_time", "coalesce", "max_instances", "overlap", "isolation", "timeout", "max_retries",
    "retry_delay", "retry_delay_max", "recover", "keep_runs", "pause_after_failures",
)  # fmt: skip
"""What a duplicate takes over: neither the name, nor a pause, nor the moment of a one-off."""


class JobPage(Silencing, JobHistory):
    """The part of the jobs' admin around the form."""

    silences_of = Silence.Of.JOB

    change_form_template = "admin/hotdata/job/change_form.html"

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("preview/", wrap(self.preview_view), name="hotdata_job_preview"),
            path("params/", wrap(self.params_view), name="hotdata_job_params"),
            path("<path:object_id>/run/", wrap(self.run_view), name="hotdata_job_run"),
            path("<path:object_id>/run-with/", wrap(self.run_with_view), name="hotdata_job_run_with"),
            path("<path:object_id>/pause/", wrap(self.pause_view), name="hotdata_job_pause"),
            path("<path:object_id>/resume/", wrap(self.resume_view), name="hotdata_job_resume"),
            *super().get_urls(),
        ]

    # What can be done

    @method_decorator(require_POST)
    def run_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The "Run now" button of a job's page."""
        if not self.has_run_permission(request):
            raise PermissionDenied
        job = self._job(request, object_id)
        return self._after_request(request, job, self.request_run(request, job))

    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    def run_with_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Asks for the parameters of one run, and then for the run."""
        if not self.has_run_with_permission(request):
            raise PermissionDenied
        job = self._job(request, object_id)
        form = ParamsForm(request.POST if request.method == "POST" else None)
        form.add_params(task_called(job.task), job.params)
        if request.method == "POST" and form.is_valid():
            params = form.read_params()
            if form.is_valid():
                return self._after_request(request, job, self.request_run(request, job, params))
        context = self.admin_site.each_context(request) | {
            "title": _("Run %(job)s with other parameters") % {"job": job},
            "opts": self.opts,
            "object": job,
            "form": form,
        }
        return TemplateResponse(request, "hotdata/job/run_with.html", context)

    @method_decorator(require_POST)
    def pause_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._pause_or_resume(request, object_id, paused=True)

    @method_decorator(require_POST)
    def resume_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._pause_or_resume(request, object_id, paused=False)

    def _pause_or_resume(self, request: HttpRequest, object_id: str, *, paused: bool) -> HttpResponse:
        if not self.has_pause_permission(request):
            raise PermissionDenied
        job = self._job(request, object_id)
        note = request.POST.get("note", "").replace("\x00", "")[:NOTE_LIMIT] if paused else ""
        if self.set_paused(request, job, paused=paused, note=note):
            self.message_user(request, _("Paused.") if paused else _("Resumed."))
        return HttpResponseRedirect(reverse("admin:hotdata_job_change", args=[job.pk]))

    def _after_request(self, request: HttpRequest, job: Job, run: Any) -> HttpResponse:
        if run is None or not request.user.has_perm("hotdata.view_run"):
            return HttpResponseRedirect(reverse("admin:hotdata_job_change", args=[job.pk]))
        return HttpResponseRedirect(reverse("admin:hotdata_run_change", args=[run.pk]))

    # Parts of the form that follow what is typed

    @method_decorator(require_GET)
    def preview_view(self, request: HttpRequest) -> HttpResponse:
        """What the schedule in the query comes to; ``of`` is the job that is edited, if it is there already."""
        if not (self.has_view_permission(request) or self.has_add_permission(request)):
            raise PermissionDenied
        if not is_bounded(request.GET):
            return HttpResponseBadRequest()
        now = timezone.now()
        context = {"preview": preview_of_form(request.GET, self._edited(request), now), "now": now}
        return TemplateResponse(request, "hotdata/job/preview.html", context)

    @method_decorator(require_GET)
    def params_view(self, request: HttpRequest) -> HttpResponse:
        """The fields of the task in the query."""
        if not (self.has_change_permission(request) or self.has_add_permission(request)):
            raise PermissionDenied
        job, chosen = self._edited(request), request.GET.get("task", "")
        form = ParamsForm()
        form.add_params(task_called(chosen), job.params if job.task == chosen else {})
        context = {"form": form, "task": form.task_of_params, "fields_of": chosen}
        return TemplateResponse(request, "hotdata/job/params.html", context)

    def _edited(self, request: HttpRequest) -> Job:
        """The job that the form is of, as it is stored; a new one where there is none, or none to be seen."""
        key = request.GET.get("of", "")
        job = Job.objects.filter(pk=key).first() if is_number(key) else None
        return Job() if job is None or not self.has_view_permission(request, job) else job

    # The page

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        now = timezone.now()
        job = self.get_object(request, object_id) if object_id is not None else None
        context: dict[str, Any] = {"now": now, "load_button": LOAD, "fields_of_name": FIELDS_OF}
        if job is not None:
            stored = preview_of(job, now)
            context |= self._job_context(request, job, now) | {"stored_preview": stored, "preview": stored}
        if request.method == "POST":
            context["preview"] = preview_of_form(request.POST, self._copy(job), now)
        elif job is None and "from" in request.GET and (copied := self.get_changeform_initial_data(request)):
            context["preview"] = preview_of(Job(**copied), now)
        return super().changeform_view(request, object_id, form_url, context | (extra_context or {}))

    def _job_context(self, request: HttpRequest, job: Job, now: datetime) -> dict[str, Any]:
        return {
            "job": job,
            "record": record_of(job, now, may_see_runs=request.user.has_perm("hotdata.view_run")),
            "edits": self.shown_edits(request, job.name, job, EDITS_SHOWN),
            "may_run": self.has_run_permission(request),
            "may_run_with": self.has_run_with_permission(request),
            "may_pause": self.has_pause_permission(request),
            "may_add": self.has_add_permission(request),
            "note_limit": NOTE_LIMIT,
            **self.silence_context(request, job),
        }

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Of the job named ``from``, to make another one like it."""
        source = Job.objects.filter(name=request.GET.get("from", "").replace("\x00", "")).first()
        if source is None or not self.has_view_permission(request, source):
            return {}
        return {field: getattr(source, field) for field in COPIED} | {"name": _free_name(source.name)}

    def _job(self, request: HttpRequest, object_id: str) -> Job:
        job: Job | None = self.get_object(request, object_id)
        if job is None:
            raise Http404
        return job

    @staticmethod
    def _copy(job: Job | None) -> Job:
        """A job as it is stored, to be played with."""
        return Job() if job is None else Job.objects.get(pk=job.pk)


def _free_name(name: str) -> str:
    """A name like `name` that no job has."""
    stem = name[:90]
    taken = set(Job.objects.filter(name__startswith=stem).values_list("name", flat=True))
    return next(
        (free for n in range(2, MOST_COPIES) if (free := f"{stem}-{n}") not in taken),
        "",
    )
