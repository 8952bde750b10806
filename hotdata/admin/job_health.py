"""The health of jobs above their list: as a filter in the URL, and as pills that count how many are how."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from hotdata.observing.jobs import JobHealth
from hotdata.pages.words import look

PARAMETER = "health"
USUAL = (JobHealth.FAILING, JobHealth.LATE, JobHealth.RUNNING, JobHealth.HEALTHY, JobHealth.PAUSED)
"""Those that have a pill even while no job is so: that none is failing is worth knowing."""


class HealthFilter(admin.SimpleListFilter):
    """``health=failing``; of a list of jobs that has `hotdata.observing.jobs.with_health`."""

    title = gettext_lazy("health")
    parameter_name = PARAMETER
    has_pills = True

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(health.value, health.label) for health in JobHealth]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        if chosen is None:
            return queryset
        if chosen not in JobHealth:
            raise IncorrectLookupParameters
        return queryset.filter(severity=JobHealth(chosen).severity)


@dataclass(frozen=True, kw_only=True)
class Pill:
    """A link above the list to the jobs of one health; without a `health`, to all."""

    health: JobHealth | None
    label: Any
    count: int
    url: str
    chosen: bool

    @property
    def css(self) -> str:
        return look(self.health).css if self.health else ""


def pills(cl: ChangeList, counts: Mapping[JobHealth, int]) -> Iterator[Pill]:
    """All, and each health that is usual, or chosen, or that of some of the jobs that `counts` counts."""
    chosen = cl.params.get(PARAMETER)
    yield Pill(
        health=None,
        label=_("All"),
        count=sum(counts.values()),
        url=cl.get_query_string({PARAMETER: None}),
        chosen=chosen is None,
    )
    for health, count in counts.items():
        if count or health in USUAL or health == chosen:
            yield Pill(
                health=health,
                label=health.label,
                count=count,
                url=cl.get_query_string({PARAMETER: health.value}),
                chosen=health == chosen,
            )
