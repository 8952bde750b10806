"""How a source stands, in words with a sign and a colour: for the list, and for its page."""

from __future__ import annotations

from datetime import timedelta

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from hotdata.freshness.gate import GateState
from hotdata.models import Source
from hotdata.observing.freshness import Objective
from hotdata.observing.sources import Standing
from hotdata.observing.upstreams import Traffic
from hotdata.pages import charts, words
from hotdata.pages.words import FAILED, OK, WARN

BREAKERS = {
    "closed": gettext_lazy("Breaker closed"),
    "half-open": gettext_lazy("Breaker half-open"),
    "open": gettext_lazy("Breaker open"),
}
MUCH_OF_BUDGET = 0.8
MANY_ERRORS = 0.05


def pills(source: Source, standing: Standing) -> SafeString:
    """Whether it is switched on and refreshed now, and how its gate stands."""
    shown = []
    if not source.enabled:
        shown.append(words.pill("paused", _("Switched off")))
    elif standing.rests:
        shown.append(words.pill("paused", _("Rests")))
    gate = standing.gate
    if gate is not None:
        shown.append(words.pill(gate.breaker, BREAKERS[gate.breaker]))
        if gate.cooldown > timedelta(0):
            text = _("Left alone for %(span)s") % {"span": words.took(gate.cooldown)}
            shown.append(words.pill("late", text))
    if not shown:
        shown.append(words.pill("new", _("Not known")))
    return format_html(
        '<span class="hd-pills-row">{}</span>', format_html_join(" ", "{}", ((pill,) for pill in shown))
    )


def budget(gate: GateState) -> SafeString:
    """The calls of the last minute, of those that a minute may have."""
    part = gate.calls / gate.budget
    seen = FAILED if part >= 1 else WARN if part >= MUCH_OF_BUDGET else OK
    text = _("%(calls)s of %(budget)s") % {"calls": f"{gate.calls:,}", "budget": f"{gate.budget:,}"}
    return format_html('<span class="hd-keep">{}</span><br>{}', text, charts.meter(part, seen, text))


def errors(traffic: Traffic) -> SafeString | str:
    """The share of calls that failed."""
    part = traffic.error_share
    if part is None:
        return words.NONE
    css = "hd-text-failed" if part >= MANY_ERRORS else ""
    return format_html('<span class="{}">{}</span>', css, words.share(part))


def error_budget(objective: Objective) -> str:
    """What is left of the reads that need not meet the objective."""
    if objective.met_share is None:
        return _("Nothing was read yet.")
    left = objective.budget_left
    if left == float("-inf"):
        return _("No read may miss it, and some did.")
    if left < 0:
        return _("The error budget is spent %(times).1f times over.") % {"times": 1 - left}
    return _("%(share)s of the error budget is left.") % {"share": words.share(left)}
