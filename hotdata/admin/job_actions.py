"""What can be done with a job now, from the list and from its page: each needs a permission and leaves who did it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _

from hotdata import actions
from hotdata.actions import Actor
from hotdata.exceptions import BadParams, BadTrigger, TooManyRuns, UnknownTask
from hotdata.models import Job, Run
from hotdata.models.runs import Cause


class JobActions(admin.ModelAdmin):
    """The part of the jobs' admin that acts."""

    def has_run_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("hotdata.run_job")

    def has_pause_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("hotdata.pause_job")

    def has_run_with_permission(self, request: HttpRequest) -> bool:
        """Parameters decide what a task does: to choose others for a run takes what an edit takes."""
        return self.has_run_permission(request) and self.has_change_permission(request)

    def request_run(
        self, request: HttpRequest, job: Job, params: dict[str, Any] | None = None, *, tell: bool = True
    ) -> Run | None:
        """Ask for a run in the user's name, with `params` instead of the job's own, and tell them what came of it.

        Only of a failure, without `tell`.
        """
        try:
            run = actions.run_now(Actor.of(request), job, Cause.MANUAL, instead=params)
        except (BadParams, UnknownTask, TooManyRuns) as error:
            self.message_user(request, f"{job}: {error}", messages.ERROR)
            return None
        if tell:
            self.message_user(request, self._told_of(request, job, run), messages.SUCCESS)
        return run

    def _told_of(self, request: HttpRequest, job: Job, run: Run) -> str:
        """That `run` is queued, with a link to it for whom may see it."""
        if not request.user.has_perm("hotdata.view_run"):
            return _("%(job)s: run %(id)d is queued.") % {"job": job, "id": run.pk}
        url = reverse("admin:hotdata_run_change", args=[run.pk], current_app=self.admin_site.name)
        link = format_html('<a href="{}">{}</a>', url, _("run %(id)d") % {"id": run.pk})
        return format_html(_("{job}: {run} is queued."), job=job, run=link)

    def set_paused(
        self,
        request: HttpRequest,
        job: Job,
        *,
        paused: bool,
        note: str = "",
        until: datetime | None = None,
    ) -> bool:
        """Pause the job in the user's name, or resume it. False when nothing came of that; why not, they are told."""
        try:
            return actions.set_paused(Actor.of(request), job, paused=paused, note=note, until=until)
        except BadTrigger as error:
            self.message_user(request, f"{job}: {error}", messages.ERROR)
            return False
