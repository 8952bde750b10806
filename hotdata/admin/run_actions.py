"""What can be done with a run: cancel it, make it again. Each is a POST, needs a permission and leaves who did it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_POST

from hotdata import actions
from hotdata.actions import Actor
from hotdata.exceptions import BadParams, TooManyRuns, UnknownTask
from hotdata.models import Run
from hotdata.models.runs import ACTIVE


class RunActions(admin.ModelAdmin):
    """The part of the runs' admin that acts."""

    actions = ["cancel_runs", "run_again"]

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("hotdata.cancel_run")

    def has_run_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("hotdata.run_job")

    def may_cancel(self, request: HttpRequest, run: Run) -> bool:
        """Whether there is something to cancel, and whether it is for this user to do."""
        return self.has_cancel_permission(request) and run.state in ACTIVE and not run.cancel_requested_by

    def may_run_again(self, request: HttpRequest, run: Run) -> bool:
        """With the job's own parameters whoever may run it; with others only who could give them to the job, too."""
        job = run.definition
        if job is None or not self.has_run_permission(request):
            return False
        return job.params | run.params == job.params or request.user.has_perm("hotdata.change_job")

    # In the list

    @admin.action(description=gettext_lazy("Cancel selected runs"), permissions=["cancel"])
    def cancel_runs(self, request: HttpRequest, runs: QuerySet[Run]) -> None:
        cancelled = sum(actions.cancel(Actor.of(request), run) for run in runs)
        if cancelled:
            text = ngettext("%(n)d run is being cancelled.", "%(n)d runs are being cancelled.", cancelled)
            self.message_user(request, text % {"n": cancelled}, messages.SUCCESS)
        else:
            self.message_user(request, _("The selected runs had ended already."), messages.WARNING)

    @admin.action(description=gettext_lazy("Run selected again"), permissions=["run"])
    def run_again(self, request: HttpRequest, runs: QuerySet[Run]) -> None:
        for run in runs.defer(None).select_related(None).order_by("id"):
            self._run_again(request, run)

    # On the page

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("<path:object_id>/cancel/", view(self.cancel_view), name="hotdata_run_cancel"),
            path("<path:object_id>/again/", view(self.again_view), name="hotdata_run_again"),
            *super().get_urls(),
        ]

    @method_decorator(require_POST)
    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The button "Cancel" of a run's page."""
        if not (self.has_cancel_permission(request) and self.has_view_permission(request)):
            raise PermissionDenied
        run = self._run(request, object_id)
        if actions.cancel(Actor.of(request), run):
            self.message_user(request, _("Run %(id)d is being cancelled.") % {"id": run.pk}, messages.SUCCESS)
        else:
            self.message_user(
                request,
                _("Run %(id)d had ended already, or is being cancelled.") % {"id": run.pk},
                messages.WARNING,
            )
        return HttpResponseRedirect(_page_of(run))

    @method_decorator(require_POST)
    def again_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The button "Run again" of a run's page; leads to the page of the new run."""
        if not (self.has_run_permission(request) and self.has_view_permission(request)):
            raise PermissionDenied
        run = self._run(request, object_id)
        return HttpResponseRedirect(_page_of(self._run_again(request, run) or run))

    # Both

    def _run(self, request: HttpRequest, object_id: str) -> Run:
        run: Run | None = self.get_object(request, object_id)
        if run is None:
            raise Http404
        return run

    def _run_again(self, request: HttpRequest, run: Run) -> Run | None:
        """Make a run of the same job with the same parameters, in the user's name, and tell them what came of it."""
        job = run.definition
        if job is None:
            why = _("%(run)s can't be run again: its job was deleted.") % {"run": run}
        elif not self.may_run_again(request, run):
            why = _(
                "%(run)s had other parameters than its job has now. To run it with those, you need the permission to "
                "change jobs."
            ) % {"run": run}
        else:
            try:
                again = actions.run_again(Actor.of(request), run, job)
            except (BadParams, UnknownTask, TooManyRuns) as error:
                why = _("%(run)s can't be run again: %(why)s") % {"run": run, "why": error}
            else:
                text = _("%(job)s: run %(id)d is queued.") % {"job": job, "id": again.pk}
                self.message_user(request, text, messages.SUCCESS)
                return again
        self.message_user(request, why, messages.ERROR)
        return None


def _page_of(run: Run) -> str:
    return reverse("admin:hotdata_run_change", args=[run.pk])
