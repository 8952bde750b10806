"""The runs page: every record, and a way to cancel what has not ended."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from hotdata.admin.readonly import ReadOnlyAdmin
from hotdata.models import Run


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    list_display = [
        "id",
        "job_name",
        "state",
        "cause",
        "due",
        "due_times",
        "started_at",
        "duration",
        "attempt",
        "brief_error",
    ]
    list_filter = ["state", "cause", "created_at"]
    search_fields = ["error"]  # what is asked is in `get_search_results`
    search_help_text = gettext_lazy("A job's name, or a part of an error.")
    actions = ["cancel_runs"]
    # Not the job itself: a run outlives it, and a join would hide the runs of deleted jobs.
    readonly_fields = ["job_name"]
    fieldsets = [
        (None, {"fields": ["job_name", "state", "reason", "error", "progress_done", "progress_total", "result"]}),
        (
            gettext_lazy("Why and when"),
            {
                "fields": [
                    "cause", "requested_by", "scheduled_for", "coalesced", "coalesced_since", "created_at",
                    "ready_at", "held", "started_at", "finished_at", "duration",
                ]
            },
        ),
        (
            gettext_lazy("How"),
            {"fields": ["task", "params", "node", "attempt", "attempts", "recovers", "cancel_requested_by", "notable"]},
        ),
        (gettext_lazy("Log"), {"fields": ["log", "traceback"]}),
    ]  # fmt: skip

    @admin.display(description=gettext_lazy("job"), ordering="job_id")
    def job_name(self, run: Run) -> str:
        return run.job_id

    @admin.display(description=gettext_lazy("due"), ordering="scheduled_for")
    def due(self, run: Run) -> object:
        return run.scheduled_for

    @admin.display(description=gettext_lazy("due times"))
    def due_times(self, run: Run) -> str:
        """How many due times the record stands for, where that is more than one."""
        return f"× {1 + run.coalesced:,}" if run.coalesced else ""

    @admin.display(description=gettext_lazy("error or reason"))
    def brief_error(self, run: Run) -> str:
        return (run.error or run.reason)[:120]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Run], search_term: str
    ) -> tuple[QuerySet[Run], bool]:
        """Search by the job's name as a text: Django would look for the job, which may be gone."""
        term = search_term.strip()
        if term:
            queryset = queryset.filter(Q(job_id=term) | Q(error__icontains=term))
        return queryset, False

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("hotdata.cancel_run")

    @admin.action(description=gettext_lazy("Cancel selected runs"), permissions=["cancel"])
    def cancel_runs(self, request: HttpRequest, runs: QuerySet[Run]) -> None:
        now = timezone.now()
        cancelled = sum(run.cancel(request.user.get_username(), now) for run in runs)
        if cancelled:
            text = ngettext("%(n)d run is being cancelled.", "%(n)d runs are being cancelled.", cancelled)
            self.message_user(request, text % {"n": cancelled}, messages.SUCCESS)
        else:
            self.message_user(request, _("The selected runs had ended already."), messages.WARNING)
