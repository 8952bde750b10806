"""The page of a run, and what it asks for each second while the run is under way."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.urls import path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from hotdata.admin.record_page import RecordPage
from hotdata.models import Run
from hotdata.models.runs import ACTIVE, BY_SCHEDULE, Cause, State
from hotdata.observing.attempts import attempts_of
from hotdata.observing.calls import CallSearch
from hotdata.pages.access import may_see
from hotdata.pages.texts import pretty, visible
from hotdata.text import is_number

JSON_SHOWN = 20_000  # characters
RECOVERED_WITHIN = timedelta(minutes=5)
LIVE_COLUMNS = (
    "id", "job_id", "state", "cause", "requested_by", "scheduled_for", "coalesced", "coalesced_since", "created_at",
    "ready_at", "held", "started_at", "finished_at", "duration", "attempt", "attempts", "node", "reason", "error",
    "progress_done", "progress_total", "cancel_requested_by", "log", "recovers_id",
)  # fmt: skip
"""What may change while a run is under way, and what stands beside it."""


class RunPage(RecordPage):
    """The part of the runs' admin that shows one."""

    def get_urls(self) -> list[Any]:
        live = self.admin_site.admin_view(self.live_view)
        return [path("<path:object_id>/live/", live, name="hotdata_run_live"), *super().get_urls()]

    def page_of(self, request: HttpRequest, row: Run) -> dict[str, Any]:
        return {
            "title": str(row),
            "log": visible(row.log),
            "log_tag": tag_of(row.log),
            **live_context(row),
            **self._beside(request, row),
        }

    def _beside(self, request: HttpRequest, run: Run) -> dict[str, Any]:
        """What stays as it is while the run is under way, and what may be done."""
        actions: Any = self
        job = run.definition
        sees_calls = (
            request.user.has_perm("hotdata.view_apicall") and CallSearch(run=run.pk).find().rows[:1].exists()
        )
        return {
            "job": job,
            "links_job": job and (may_see(request.user, "job")),
            "may_cancel": actions.may_cancel(request, run),
            "may_run_again": actions.may_run_again(request, run),
            "recovered_by": _recovery_of(run),
            "calls": f"{reverse('admin:hotdata_apicall_changelist')}?run={run.pk}" if sees_calls else "",
            "params": pretty(run.params, JSON_SHOWN) if run.params else "",
            "result": "" if run.result is None else pretty(run.result, JSON_SHOWN),
            "traceback": visible(run.traceback),
        }

    @method_decorator(require_safe)
    def live_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """How the run stands; of its log only what comes after the part that `log`, an earlier answer's tag, names."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        runs = Run.objects.only(*LIVE_COLUMNS)
        run = runs.filter(pk=object_id).first() if is_number(object_id) else None
        if run is None:
            raise Http404
        known = length_of(request.GET.get("log", ""), run.log)
        return JsonResponse(
            {
                "active": run.state in ACTIVE,
                "state": State(run.state).label,
                "html": render_to_string("hotdata/run/live.html", live_context(run), request),
                "log": visible(run.log[known:]),
                "log_goes_on": known > 0,
                "log_tag": tag_of(run.log),
            }
        )


def live_context(run: Run) -> dict[str, Any]:
    """What changes while a run is under way."""
    now = timezone.now()
    job = run.definition
    most = 1 + job.max_retries if job else 0
    return {
        "run": run,
        "now": now,
        "active": run.state in ACTIVE,
        "state": State(run.state).label,
        "cause": Cause(run.cause).label,
        "who": visible(run.requested_by),
        "node": visible(run.node),
        "most_attempts": most if most >= run.attempt else 0,
        "so_far": now - run.started_at if run.state == State.RUNNING and run.started_at else None,
        "attempts": [
            replace(attempt, node=visible(attempt.node), error=visible(attempt.error))
            for attempt in attempts_of(run, now)
        ],
        "notes": [str(note) for note in notes_on(run)],
        "error": visible(run.error),
        "reason": visible(run.reason),
    }


def notes_on(run: Run) -> Iterator[Any]:
    """What there is to say of the run in whole sentences."""
    if run.coalesced and run.coalesced_since and run.scheduled_for:
        yield _("This record stands for %(n)s due times, from %(first)s to %(last)s.") % {
            "n": f"{1 + run.coalesced:,}",
            "first": f"{timezone.localtime(run.coalesced_since):%Y-%m-%d %H:%M:%S}",
            "last": f"{timezone.localtime(run.scheduled_for):%Y-%m-%d %H:%M:%S %Z}",
        }
    if run.held:
        yield _("It waits until the other runs of its job have ended.")
    elif run.state == State.QUEUED:
        yield _("It waits for a scheduler to start it.")
    if run.state == State.RETRYING:
        yield _("It is tried again at %(time)s.") % {
            "time": f"{timezone.localtime(run.ready_at):%Y-%m-%d %H:%M:%S %Z}"
        }
    if run.state == State.RUNNING and run.cancel_requested_by == BY_SCHEDULE:
        yield _("It is asked to stop, since a later due time takes its place.")
    elif run.state == State.RUNNING and run.cancel_requested_by:
        yield _("%(user)s asked it to stop. It ends when its task next looks.") % {
            "user": visible(run.cancel_requested_by)
        }


def tag_of(log: str) -> str:
    """What names `log` as it is: its length, and a sum by which a beginning of a later one is known again."""
    return f"{len(log)}-{zlib.crc32(log.encode())}"


def length_of(tag: str, log: str) -> int:
    """How much of `log` is what `tag` names; nothing, when it was cut in the middle or begun anew since."""
    length = tag.partition("-")[0]
    if not is_number(length, digits=9):
        return 0
    return int(length) if tag_of(log[: int(length)]) == tag else 0


def _recovery_of(run: Run) -> Run | None:
    """The run that was made in place of this one, which is when this one's end was recorded: no index of its own."""
    if run.state not in (State.ABANDONED, State.CANCELLED) or run.finished_at is None:
        return None
    then = (run.finished_at - RECOVERED_WITHIN, run.finished_at + RECOVERED_WITHIN)
    made = Run.objects.filter(created_at__range=then, cause=Cause.RECOVERY, recovers=run.pk)
    return made.only("id", "job_id", "state").order_by("created_at").first()
