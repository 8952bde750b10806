"""Tags and filters of the pages: words for times, durations and states. `{% load hotdata %}`"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django import template
from django.contrib.admin.templatetags.admin_list import result_headers
from django.contrib.admin.views.main import ChangeList
from django.utils import timezone
from django.utils.safestring import SafeString

from hotdata.figures import grouped
from hotdata.pages import words

register = template.Library()


@dataclass(frozen=True, kw_only=True)
class Menu:
    """One filter of a list as a menu: its choices as Django's admin has them, and the one that is chosen."""

    title: Any
    choices: Sequence[Mapping[str, Any]]

    @property
    def chosen(self) -> Any:
        """The chosen one's words; nothing while it is the first, which means all."""
        return next((choice["display"] for choice in self.choices[1:] if choice["selected"]), "")


@register.simple_tag
def menus(cl: ChangeList) -> list[Menu]:
    """The filters of the list `cl`, but for those that stand above it as pills."""
    return [
        Menu(title=spec.title, choices=list(spec.choices(cl)))
        for spec in cl.filter_specs
        if not getattr(spec, "has_pills", False)
    ]


@register.simple_tag
def headers(cl: ChangeList) -> list[dict[str, Any]]:
    """The heads of the columns of the list `cl`, as Django's own table has them."""
    return list(result_headers(cl))


@register.simple_tag(takes_context=True)
def ago(context: Any, moment: datetime | None) -> SafeString:
    """`moment` as its distance from the page's `now`: 2 min ago, in 32 s."""
    return words.ago(moment, context.get("now") or timezone.now())


@register.simple_tag(takes_context=True)
def clock(context: Any, moment: datetime | None) -> str:
    """`moment` in the site's zone, as short as the page's `now` allows: 14:35, 2026-11-25 02:30."""
    return words.NONE if moment is None else words.Clock(context.get("now") or timezone.now()).say(moment)


@register.simple_tag
def pill(state: str, label: object) -> SafeString:
    """`label` with the sign and colour of `state`."""
    return words.pill(str(state), label)


@register.filter
def took(duration: timedelta | None) -> str:
    """A duration with two digits or so: 306 ms, 1.4 s, 54 min."""
    return words.took(duration)


@register.filter
def absolute(moment: datetime | None) -> str:
    """A time to the second, in the site's zone."""
    return words.NONE if moment is None else words.absolute(moment)


@register.filter
def wall(moment: datetime) -> str:
    """A time with its weekday, as the clock of its own zone shows it."""
    return words.wall(moment)


@register.filter
def percent(value: float | None) -> str:
    """A share as per cent: 97.2 %."""
    return words.share(value)


@register.filter
def counted(number: int | Decimal) -> str:
    """A number with all its digits, in groups of three: 1,234,567.50."""
    return grouped(number)
