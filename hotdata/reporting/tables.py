"""The tables that several reports have: runs by job, what came to nothing and why, failures, sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from hotdata.models.runs import State
from hotdata.reporting.amounts import Amount
from hotdata.reporting.letters import Bar, Chart, Column, Figure, Part, Section, Tone, Unit
from hotdata.reporting.periods import Period
from hotdata.reporting.runs import JobRuns, Runs
from hotdata.reporting.sources import Calls, Reads


def jobs_table(runs: Runs, before: Mapping[str, JobRuns] | None = None) -> Section:
    """Runs by job and outcome; with what they came to `before`, by job, where that is given."""
    rows = [_job_row(row.job, row, before) for row in runs.jobs]
    if runs.other_jobs:
        others = ngettext("%(n)s other job", "%(n)s other jobs", runs.other_jobs)
        rows.append(_job_row(others % {"n": f"{runs.other_jobs:,}"}, runs.others, before))
    return Section(
        name="jobs",
        title=_("Runs by job"),
        columns=[
            Column(label=_("Job"), unit=Unit.JOB),
            Column(label=_("Runs"), unit=Unit.COUNT),
            Column(label=_("Success"), unit=Unit.SHARE),
            Column(label=_("Failed"), unit=Unit.COUNT),
            Column(label=_("Timed out"), unit=Unit.COUNT),
            Column(label=_("Abandoned"), unit=Unit.COUNT),
            Column(label=_("Cancelled"), unit=Unit.COUNT),
            Column(label=_("Missed"), unit=Unit.COUNT),
            Column(label=_("Skipped"), unit=Unit.COUNT),
            Column(label="p50", unit=Unit.SECONDS),
            Column(label="p95", unit=Unit.SECONDS),
            *(_columns_before() if before is not None else ()),
        ],
        rows=rows,
        empty=_("No run ended, and nothing was missed or skipped."),
        note=" ".join(_notes(runs)),
    )


def _columns_before() -> list[Column]:
    return [
        Column(label=_("Runs before"), unit=Unit.COUNT),
        Column(label=_("Failures before"), unit=Unit.COUNT),
        Column(label=_("p95 before"), unit=Unit.SECONDS),
    ]


def _job_row(name: str, row: JobRuns, before: Mapping[str, JobRuns] | None) -> list[Any]:
    cells = [
        name, row.attempted, row.success, row.failed, row.timed_out, row.abandoned, row.cancelled, row.missed,
        row.skipped, row.p50, row.p95,
    ]  # fmt: skip
    if before is None:
        return cells
    then = before.get(name)
    return [*cells, *((then.attempted, then.failures, then.p95) if then else (None, None, None))]


def _notes(runs: Runs) -> list[str]:
    notes = [_("Runs count when they end; what was missed or skipped, by its due times.")]
    if runs.total.coalesced:
        text = ngettext(
            "The runs stand for %(n)s further due time.",
            "The runs stand for %(n)s further due times.",
            runs.total.coalesced,
        )
        notes.append(text % {"n": f"{runs.total.coalesced:,}"})
    thinned = [row.job for row in runs.jobs if row.thinned]
    if thinned:
        text = _("Runs of these jobs are thinned out, so there were more of them: %(jobs)s.")
        notes.append(text % {"jobs": ", ".join(thinned)})
    return notes


def reasons_table(runs: Runs) -> Section:
    """Why due times came to nothing."""
    rows: list[list[Any]] = [
        [row.job, State(row.state).label, row.due_times, row.reason] for row in runs.passed_over
    ]
    if runs.other_reasons:
        rows.append([_("others"), "", runs.other_reasons, ""])
    return Section(
        name="reasons",
        title=_("Missed and skipped"),
        columns=[
            Column(label=_("Job"), unit=Unit.JOB),
            Column(label=_("Outcome")),
            Column(label=_("Due times"), unit=Unit.COUNT),
            Column(label=_("Reason")),
        ],
        rows=rows,
        empty=_("Nothing was missed or skipped."),
    )


def failing_table(runs: Runs) -> Section:
    """The jobs that failed most, with the latest failure of each."""
    return Section(
        name="failures",
        title=_("Worst failures"),
        columns=[
            Column(label=_("Job"), unit=Unit.JOB),
            Column(label=_("Failures"), unit=Unit.COUNT),
            Column(label=_("Latest"), unit=Unit.RUN),
            Column(label=_("Outcome")),
            Column(label=_("Error")),
        ],
        rows=[[row.job, row.failures, row.run, State(row.state).label, row.error] for row in runs.failing],
        empty=_("No run failed."),
    )


def reads_table(reads: Reads, period: Period) -> Section:
    """What readers got, against the objectives."""
    notes = [_("By hours of UTC, which count in the day in which they begin; objectives as they are now.")]
    partly = [row.source for row in reads.sources if row.hours < int(period.hours)]
    if partly:
        notes.append(
            _("Of some hours there is no record, since nobody read, or it was lost: %(sources)s.")
            % {"sources": ", ".join(partly)}
        )
    rows: list[list[Any]] = [
        [
            row.source, row.reads, row.fresh / row.reads if row.reads else None, row.p50, row.p99, row.errors,
            row.objective_age, row.objective_share, row.met_share, _verdict(row.met),
        ]
        for row in reads.sources
    ]  # fmt: skip
    if reads.other_sources:
        others = reads.reads - sum(row.reads for row in reads.sources)
        rows.append([_other_sources(reads.other_sources), others, *[None] * 7, ""])
    return Section(
        name="freshness",
        title=_("Freshness"),
        columns=[
            Column(label=_("Source"), unit=Unit.SOURCE),
            Column(label=_("Reads"), unit=Unit.COUNT),
            Column(label=_("Fresh"), unit=Unit.SHARE),
            Column(label=_("Age p50"), unit=Unit.SECONDS),
            Column(label=_("Age p99"), unit=Unit.SECONDS),
            Column(label=_("Errors"), unit=Unit.COUNT),
            Column(label=_("Objective"), unit=Unit.SECONDS),
            Column(label=_("for"), unit=Unit.SHARE),
            Column(label=_("Met by"), unit=Unit.SHARE),
            Column(label=_("Verdict")),
        ],
        rows=rows,
        empty=_("Nothing was read, as far as it is on record."),
        note=" ".join(notes),
    )


def _verdict(met: bool | None) -> str:
    if met is None:
        return ""
    return _("met") if met else _("missed")


def _other_sources(count: int) -> str:
    return ngettext("%(n)s other source", "%(n)s other sources", count) % {"n": f"{count:,}"}


def calls_table(calls: Calls) -> Section:
    """What upstreams were asked."""
    rows: list[list[Any]] = [
        [row.source, row.calls, row.failed, row.error_share, row.size, row.p50, row.p95]
        for row in calls.sources
    ]
    if calls.other_sources:
        listed = calls.sources
        others = calls.calls - sum(row.calls for row in listed)
        failed = calls.failed - sum(row.failed for row in listed)
        size = calls.size - sum(row.size for row in listed)
        share = failed / others if others else None
        rows.append([_other_sources(calls.other_sources), others, failed, share, size, None, None])
    return Section(
        name="calls",
        title=_("Upstream calls"),
        columns=[
            Column(label=_("Source"), unit=Unit.SOURCE),
            Column(label=_("Calls"), unit=Unit.COUNT),
            Column(label=_("Failed"), unit=Unit.COUNT),
            Column(label=_("Errors"), unit=Unit.SHARE),
            Column(label=_("Size"), unit=Unit.BYTES),
            Column(label="p50", unit=Unit.SECONDS),
            Column(label="p95", unit=Unit.SECONDS),
        ],
        rows=rows,
        empty=_("No upstream was asked."),
    )


def runs_chart(title: str, labels: Sequence[str], runs: Runs) -> Chart:
    """Runs by when they ended. There is a label for each slot."""
    return Chart(
        title=title,
        parts=[
            Part(label=_("succeeded"), tone=Tone.GOOD),
            Part(label=_("failed"), tone=Tone.BAD),
            Part(label=_("cancelled"), tone=Tone.OTHER),
        ],
        bars=[
            Bar(label=label, values=(slot.succeeded, slot.failed, slot.cancelled))
            for label, slot in zip(labels, runs.slots, strict=True)
        ],
    )


def runs_figures(runs: JobRuns) -> list[Figure]:
    return [
        Figure(label=_("Runs"), value=runs.attempted),
        Figure(label=_("Success"), value=runs.success, unit=Unit.SHARE),
        Figure(label=_("Failures"), value=runs.failures),
        Figure(label=_("Missed"), value=runs.missed),
        Figure(label=_("Skipped"), value=runs.skipped),
    ]


def sources_figures(reads: Reads, calls: Calls, cost: tuple[Amount, ...] | None) -> list[Figure]:
    objectives = [row.met for row in reads.sources if row.met is not None]
    figures = [
        Figure(label=_("Reads"), value=reads.reads),
        Figure(label=_("Upstream calls"), value=calls.calls),
        Figure(label=_("Failed calls"), value=calls.failed),
    ]
    if objectives:
        met = _("%(met)d of %(all)d") % {"met": sum(objectives), "all": len(objectives)}
        figures.insert(1, Figure(label=_("Objectives met"), value=met, unit=Unit.TEXT))
    if cost is not None:
        figures.append(cost_figure(cost))
    return figures


def cost_figure(cost: tuple[Amount, ...] | None) -> Figure:
    """What calls cost, in all currencies."""
    said = None if cost is None else ", ".join(map(str, cost)) or "0"
    return Figure(label=_("Cost"), value=said, unit=Unit.TEXT)


def gist(runs: JobRuns) -> str:
    """What a period came to, in a few words for a subject."""
    if not runs.attempted and not runs.passed_over:
        return _("nothing ran")
    text = ngettext("%(failed)s of %(n)s run failed", "%(failed)s of %(n)s runs failed", runs.attempted)
    said = text % {"failed": f"{runs.failures:,}", "n": f"{runs.attempted:,}"}
    if runs.missed:
        said += ", " + _("%(n)s missed") % {"n": f"{runs.missed:,}"}
    return said
