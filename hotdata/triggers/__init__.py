"""When jobs are due: cron expressions, intervals and one-off dates.

A trigger is a value: it is checked when it is made, never changes, knows no "now" and touches no database.
The same arithmetic fires, counts what was missed, previews and validates, so these can't disagree.
"""

from hotdata.triggers.base import DueTimes, Trigger
from hotdata.triggers.cron import CronTrigger
from hotdata.triggers.date import DateTrigger
from hotdata.triggers.interval import IntervalTrigger
from hotdata.triggers.jitter import stable_offset

__all__ = ["CronTrigger", "DateTrigger", "DueTimes", "IntervalTrigger", "Trigger", "stable_offset"]
