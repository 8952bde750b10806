"""The history of a job: its edits, also after it was deleted, and the way back to an earlier version."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from hotdata.admin.edit_history import ShownEdit, bring_back, differing_fields, shown
from hotdata.admin.job_actions import JobActions
from hotdata.admin.job_form import PAUSE_FIELDS
from hotdata.exceptions import BadTrigger
from hotdata.models import Job
from hotdata.observing.edits import Edit, deleted_jobs, edits_of_job, job_edit
from hotdata.pages.words import absolute

EDITS_ON_A_PAGE = 50
MOST_DELETED = 200


class JobHistory(JobActions):
    """The part of the jobs' admin that shows edits and takes them back."""

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("deleted/", wrap(self.deleted_view), name="hotdata_job_deleted"),
            path("deleted/<slug:name>/", wrap(self.deleted_job_view), name="hotdata_job_deleted_job"),
            path("revert/<int:edit_id>/", wrap(self.revert_view), name="hotdata_job_revert"),
            *super().get_urls(),
        ]

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The edits of a job."""
        job = self.get_object(request, object_id)
        if job is None:
            return super().history_view(request, object_id)  # which says so
        if not self.has_view_permission(request, job):
            raise PermissionDenied
        return self._history(request, job.name, job)

    @method_decorator(require_GET)
    def deleted_job_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """The edits of a job that is no more, by its name."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        job = Job.objects.filter(name=name).first()
        if job is not None:
            return HttpResponseRedirect(reverse("admin:hotdata_job_history", args=[job.pk]))
        return self._history(request, name, None)

    @method_decorator(require_GET)
    def deleted_view(self, request: HttpRequest) -> HttpResponse:
        """The jobs that were deleted and are not there again."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = self.admin_site.each_context(request) | {
            "title": _("Deleted jobs"),
            "opts": self.opts,
            "deleted": deleted_jobs(MOST_DELETED),
        }
        return TemplateResponse(request, "hotdata/job/deleted.html", context)

    @method_decorator(require_POST)
    def revert_view(self, request: HttpRequest, edit_id: int) -> HttpResponse:
        """Bring back the version that an edit led to; make the job again where it was deleted."""
        edit = job_edit(edit_id)
        if edit is None:
            raise Http404
        job = Job.objects.filter(name=edit.version.name).first()
        if not self._may_revert(request, edit, job):
            raise PermissionDenied
        back = (
            reverse("admin:hotdata_job_history", args=[job.pk])
            if job is not None
            else reverse("admin:hotdata_job_deleted_job", args=[edit.version.name])
        )
        edits_pause = job is None or not PAUSE_FIELDS.isdisjoint(differing_fields(job, edit.version))
        if edit.version.paused and edits_pause:
            edit.version.paused_by = request.user.get_username()
        try:
            saved = bring_back(edit, job)
        except (ValidationError, BadTrigger) as error:
            for text in _texts(error):
                self.message_user(request, text, messages.ERROR)
            return HttpResponseRedirect(back)
        when = absolute(edit.at)
        log = self.log_addition if job is None else self.log_change
        log(request, saved, f"Reverted to the version of {when}.")
        self.message_user(
            request, _("Reverted to the version of %(when)s.") % {"when": when}, messages.SUCCESS
        )
        return HttpResponseRedirect(reverse("admin:hotdata_job_history", args=[saved.pk]))

    def shown_edits(self, request: HttpRequest, name: str, job: Job | None, limit: int) -> list[ShownEdit]:
        """The latest edits of the job called `name`, with whether the user may go back to each."""
        return [
            shown(edit, may_revert=self._may_revert(request, edit, job)) for edit in edits_of_job(name, limit)
        ]

    def _history(self, request: HttpRequest, name: str, job: Job | None) -> HttpResponse:
        page = request.GET.get("p", "0")
        offset = EDITS_ON_A_PAGE * min(int(page) if page.isdecimal() and len(page) < 6 else 0, 10_000)
        found = edits_of_job(name, EDITS_ON_A_PAGE + 1, offset)
        if job is None and not found:
            raise Http404
        context = self.admin_site.each_context(request) | {
            "title": _("Change log of %(job)s") % {"job": job or found[0].version},
            "opts": self.opts,
            "object": job,
            "edits": [
                shown(edit, may_revert=self._may_revert(request, edit, job))
                for edit in found[:EDITS_ON_A_PAGE]
            ],
            "later": offset // EDITS_ON_A_PAGE - 1 if offset else None,
            "earlier": offset // EDITS_ON_A_PAGE + 1 if len(found) > EDITS_ON_A_PAGE else None,
        }
        return TemplateResponse(request, "hotdata/job/history.html", context)

    def _may_revert(self, request: HttpRequest, edit: Edit, job: Job | None) -> bool:
        """Whether there is something to bring back, and the user may change all of it."""
        if job is None:
            if not (self.has_add_permission(request) and self.has_view_permission(request)):
                return False
            differing = differing_fields(Job(), edit.version)  # what a new job would have by itself
        else:
            differing = differing_fields(job, edit.version) - {"paused_by"}
            if not differing or not self.has_change_permission(request, job):
                return False
        return PAUSE_FIELDS.isdisjoint(differing) or self.has_pause_permission(request)


def _texts(error: ValidationError | BadTrigger) -> list[str]:
    """What is wrong, with the name of the field that it is wrong with."""
    if isinstance(error, BadTrigger) or not hasattr(error, "error_dict"):
        return [str(error)]
    labels = {field.name: str(field.verbose_name) for field in Job._meta.concrete_fields}
    return [
        _("%(field)s: %(error)s") % {"field": labels.get(name, name), "error": text}
        for name, texts in error.message_dict.items()
        for text in texts
    ]
