"""The list of jobs: what it shows of each, and what can be done with several at once."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from hotdata.admin.job_actions import JobActions
from hotdata.exceptions import BadTrigger
from hotdata.models import Job, Run, Schedule
from hotdata.models.runs import State


class JobList(JobActions):
    """The part of the jobs' admin that lists them."""

    change_list_template = "hotdata/change_list.html"
    list_display = ["name", "title", "task", "schedule", "next_run", "last_state", "active"]
    list_filter = ["paused", "trigger", "task"]
    search_fields = ["name", "title"]
    actions = ["run_now", "pause", "resume"]

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

    @admin.action(description=gettext_lazy("Run selected jobs now"), permissions=["run"])
    def run_now(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        for job in jobs:
            self.request_run(request, job)

    @admin.action(description=gettext_lazy("Pause selected jobs"), permissions=["pause"])
    def pause(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        changed = sum(self.set_paused(request, job, paused=True) for job in jobs)
        text = ngettext("%(n)d job paused.", "%(n)d jobs paused.", changed)
        self.message_user(request, text % {"n": changed}, messages.SUCCESS)

    @admin.action(description=gettext_lazy("Resume selected jobs"), permissions=["pause"])
    def resume(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        changed = sum(self.set_paused(request, job, paused=False) for job in jobs)
        text = ngettext("%(n)d job resumed.", "%(n)d jobs resumed.", changed)
        self.message_user(request, text % {"n": changed}, messages.SUCCESS)
