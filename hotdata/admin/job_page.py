"""The page of a job: its form, and what can be done with the job from there. All that changes something is a POST."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_POST

from hotdata.admin.job_actions import JobActions


class JobPage(JobActions):
    """The part of the jobs' admin around the form."""

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
        run = self.request_run(request, job)
        if run is None or not request.user.has_perm("hotdata.view_run"):
            return HttpResponseRedirect(reverse("admin:hotdata_job_change", args=[job.pk]))
        return HttpResponseRedirect(reverse("admin:hotdata_run_change", args=[run.pk]))

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {"may_run": self.has_run_permission(request)} | (extra_context or {})
        return super().change_view(request, object_id, form_url, context)
