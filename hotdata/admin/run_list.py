"""The list of runs: what is looked for, as the URL says it, and what a row shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import path, reverse
from django.utils import formats, timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from hotdata.admin.long_list import ChoiceFilter, LongChangeList, LongListAdmin, NameFilter, TimeFilter
from hotdata.admin.run_export import MOST as MOST_EXPORTED
from hotdata.admin.run_export import export
from hotdata.models import Job, Run
from hotdata.models.runs import ACTIVE, FAILURES, NEVER_STARTED, WAITING, Cause, State
from hotdata.observing.finding import Found, one_of
from hotdata.observing.runs import RunSearch
from hotdata.pages import places, words
from hotdata.pages.access import may_see
from hotdata.pages.charts import meter
from hotdata.pages.texts import first_line, visible

BRIEF = 300  # characters of an error that the list reads
COLUMNS = (
    "id", "job_id", "state", "cause", "requested_by", "scheduled_for", "coalesced", "started_at", "finished_at",
    "duration", "attempt", "progress_done", "progress_total", "cancel_requested_by",
)  # fmt: skip
"""What is read for a row: neither log nor result nor attempts."""

GROUPS = {
    "failures": (gettext_lazy("Failures"), frozenset(FAILURES), "failed"),
    "running": (State.RUNNING.label, frozenset([State.RUNNING]), "running"),
    "waiting": (gettext_lazy("Waiting"), frozenset(WAITING), "queued"),
    "succeeded": (State.SUCCEEDED.label, frozenset([State.SUCCEEDED]), "succeeded"),
    "never_started": (gettext_lazy("Missed or skipped"), frozenset(NEVER_STARTED), "missed"),
}
"""Outcomes that have a pill above the list: words, states, and the state whose look they have."""
OUTCOMES = {
    **{state.value: frozenset([state]) for state in State},
    **{name: states for name, (_label, states, _look) in GROUPS.items()},
    "active": frozenset(ACTIVE),
}


class OutcomeFilter(ChoiceFilter):
    title = gettext_lazy("outcome")
    parameter_name = "outcome"
    plain = "state__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        groups = [(name, label) for name, (label, _states, _look) in GROUPS.items() if name not in State]
        return [*groups, ("active", _("Not ended")), *State.choices]


class CauseFilter(ChoiceFilter):
    title = gettext_lazy("cause")
    parameter_name = "cause"
    plain = "cause__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(cause.value, cause.label) for cause in Cause]


class JobFilter(NameFilter):
    title = gettext_lazy("job")
    parameter_name = "job"
    named = Job


def search_of(cl: LongChangeList) -> RunSearch:
    """What the list `cl` is asked for."""
    times = cl.times
    cause = cl.chosen("cause")
    return RunSearch(
        job=cl.chosen("job"),
        states=OUTCOMES.get(cl.chosen("outcome"), frozenset()),
        cause=Cause(cause) if cause else None,
        since=times.since,
        until=times.until,
        before=times.before,
        text=cl.query,
    )


class RunList(LongListAdmin):
    """The part of the runs' admin that lists."""

    change_list_template = "admin/hotdata/run/change_list.html"
    list_filter = [JobFilter, OutcomeFilter, CauseFilter, TimeFilter]
    list_display = ["number", "outcome", "of_job", "caused", "due", "started", "lasted", "tries"]
    search_fields = ["error"]  # what is asked is in `RunSearch`
    search_help_text = gettext_lazy(
        "A run's number, a job's name or a part of it, or else a part of an error or reason, among the latest "
        "20,000 runs that didn't succeed."
    )

    def find(self, cl: LongChangeList) -> Found:
        return search_of(cl).find()

    def shown(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        brief = {"brief_error": Left("error", BRIEF), "brief_reason": Left("reason", BRIEF)}
        shown: QuerySet[Any] = rows.only(*COLUMNS).annotate(**brief)
        return shown

    def complete(self, request: HttpRequest, rows: list[Any]) -> list[Any]:
        """With the jobs that still exist: one query, and no join, which would hide the runs of those that don't."""
        jobs = Job.objects.filter(name__in={run.job_id for run in rows}).only("name", "max_retries")
        defined = {job.name: job for job in jobs}
        sees_jobs = may_see(request.user, "job")
        for run in rows:
            run.defined = defined.get(run.job_id)
            run.links_job = sees_jobs
        return rows

    def get_list_display_links(self, request: HttpRequest, list_display: Any) -> Any:
        return ["number"]

    # The page around the rows

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        answer: HttpResponse = super().changelist_view(request, extra_context)
        context = getattr(answer, "context_data", None)
        if context and "cl" in context:
            cl = context["cl"]
            context |= {
                "pills": list(pills(cl)),
                "export_url": reverse("admin:hotdata_run_export") + cl.get_query_string(),
                "export_help": _("What this list has found, at most %(n)s runs")
                % {"n": f"{MOST_EXPORTED:,}"},
                "no_jobs": not cl.result_list and not Job.objects.exists(),
            }
        return answer

    def get_urls(self) -> list[Any]:
        export = self.admin_site.admin_view(self.export_view)
        return [path("export/", export, name="hotdata_run_export"), *super().get_urls()]

    @method_decorator(require_safe)
    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """What the list with the same query string has found, as a file. Changes nothing, so it may be a GET."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            cl: Any = self.get_changelist_instance(request)
        except IncorrectLookupParameters:
            return HttpResponseRedirect(reverse("admin:hotdata_run_changelist") + "?e=1")
        answer = StreamingHttpResponse(export(cl.found), content_type="text/csv; charset=utf-8")
        name = f"runs-{timezone.localtime():%Y-%m-%d-%H%M}.csv"
        answer["Content-Disposition"] = f'attachment; filename="{name}"'
        return answer

    # What a row shows

    @admin.display(description=gettext_lazy("run"))
    def number(self, run: Run) -> str:
        return f"#{run.pk}"

    @admin.display(description=gettext_lazy("outcome"))
    def outcome(self, run: Run) -> SafeString:
        shown = words.pill(run.state, State(run.state).label)
        if run.state != State.RUNNING:
            return shown
        if run.cancel_requested_by:
            return format_html('{}<div class="hd-quiet">{}</div>', shown, _("asked to stop"))
        if not run.progress_total:
            return shown
        return format_html('{}<div class="hd-quiet">{}</div>', shown, progress_bar(run))

    @admin.display(description=gettext_lazy("job"))
    def of_job(self, run: Any) -> SafeString:
        """The job, and below it what went wrong."""
        if run.defined is None:
            job = format_html('{} <span class="hd-quiet">{}</span>', run.job_id, _("deleted"))
        elif run.links_job:
            url = places.job(run.defined.pk)
            job = format_html('<a href="{}">{}</a>', url, run.job_id)
        else:
            job = format_html("{}", run.job_id)
        text = run.brief_error or run.brief_reason
        if not text:
            return format_html('<div class="hd-name">{}</div>', job)
        css = "hd-error" if run.brief_error else "hd-quiet"
        return format_html(
            '<div class="hd-name">{}</div><span class="hd-clip {}" title="{}">{}</span>',
            job, css, visible(text), first_line(text),
        )  # fmt: skip

    @admin.display(description=gettext_lazy("cause"))
    def caused(self, run: Run) -> SafeString:
        label = number_cell(str(Cause(run.cause).label))
        if not run.requested_by:
            return format_html("{}", label)
        return format_html('{}<div class="hd-quiet">{}</div>', label, visible(run.requested_by))

    @admin.display(description=gettext_lazy("due"))
    def due(self, run: Run) -> SafeString:
        shown = moment(run.scheduled_for)
        if not run.coalesced:
            return shown
        times = _("%(n)s due times") % {"n": f"{1 + run.coalesced:,}"}
        return format_html('{}<div class="hd-quiet">{}</div>', shown, times)

    @admin.display(description=gettext_lazy("started"))
    def started(self, run: Run) -> SafeString:
        return moment(run.started_at)

    @admin.display(description=gettext_lazy("duration"))
    def lasted(self, run: Run) -> SafeString:
        """How long the last attempt worked; of one that works, how long until now."""
        if run.state == State.RUNNING and run.started_at:
            return number_cell(_("%(span)s so far") % {"span": words.took(timezone.now() - run.started_at)})
        return number_cell(words.took(run.duration))

    @admin.display(description=gettext_lazy("attempt"))
    def tries(self, run: Any) -> str:
        if not run.attempt:
            return words.NONE
        most = 1 + run.defined.max_retries if run.defined else 0
        if most < run.attempt:  # the job is gone, or was edited since
            return str(run.attempt)
        return _("%(n)d of %(most)d") % {"n": run.attempt, "most": most}


@dataclass(frozen=True, kw_only=True)
class Pill:
    """A link above the list to the runs with some outcome."""

    label: Any
    url: str
    chosen: bool
    css: str = ""
    count: int | None = None


def pills(cl: LongChangeList) -> Iterator[Pill]:
    """All, and each of `GROUPS`. Counted are those that are few: what has not ended."""
    chosen = cl.chosen("outcome")
    by_state = one_of(Run.objects.order_by(), "state", ACTIVE).values_list("state").annotate(n=Count("id"))
    active = dict(by_state)
    yield Pill(label=_("All"), url=cl.get_query_string({"outcome": None}), chosen=not chosen)
    for name, (label, states, looks_like) in GROUPS.items():
        yield Pill(
            label=label,
            url=cl.get_query_string({"outcome": name}),
            chosen=chosen == name,
            css=words.look(looks_like).css,
            count=sum(active.get(state, 0) for state in states) if states <= set(ACTIVE) else None,
        )


def progress_bar(run: Run) -> SafeString:
    """How far a run is, as a bar and in words."""
    done, total = run.progress_done, run.progress_total or 1
    text = _("%(done)s of %(total)s") % {"done": f"{done:,}", "total": f"{run.progress_total or 0:,}"}
    return format_html("{} {}", meter(done / total, words.RUNNING, text), text)


def moment(at: datetime | None) -> SafeString:
    """A time as its distance, with the time itself below."""
    if at is None:
        return format_html("{}", words.NONE)
    return format_html(
        '{}<div class="hd-quiet hd-keep">{}</div>',
        words.ago(at, timezone.now()),
        formats.date_format(timezone.localtime(at), "Y-m-d H:i:s"),
    )


def number_cell(text: str) -> SafeString:
    return format_html('<span class="hd-keep">{}</span>', text)
