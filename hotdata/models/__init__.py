"""The rows, and the verbs that need nothing but the row itself."""

from hotdata.models.alerts import Alert
from hotdata.models.calls import ApiCall
from hotdata.models.changes import ChangeCounter
from hotdata.models.cleaning import Cleaning
from hotdata.models.components import Component, ComponentChange
from hotdata.models.defaults import Provided
from hotdata.models.deliveries import Delivery
from hotdata.models.hotkeys import HotKey
from hotdata.models.hours import FreshnessHour
from hotdata.models.jobs import Job
from hotdata.models.looks import Look
from hotdata.models.nodes import Lease, Node
from hotdata.models.notices import Notice
from hotdata.models.prices import PriceList
from hotdata.models.reports import Report
from hotdata.models.runs import Run
from hotdata.models.schedules import Schedule
from hotdata.models.silences import Silence
from hotdata.models.sources import Key, Source
from hotdata.models.statements import Statement, StatementLine
from hotdata.models.tokens import ApiToken
from hotdata.models.totals import RunTotal, TotalsCursor
from hotdata.models.usage import CallTotal, SourceUsage, TokenUsage

__all__ = [
    "Alert",
    "ApiCall",
    "ApiToken",
    "CallTotal",
    "ChangeCounter",
    "Cleaning",
    "Component",
    "ComponentChange",
    "Delivery",
    "FreshnessHour",
    "HotKey",
    "Job",
    "Key",
    "Lease",
    "Look",
    "Node",
    "Notice",
    "PriceList",
    "Provided",
    "Report",
    "Run",
    "RunTotal",
    "Schedule",
    "Silence",
    "Source",
    "SourceUsage",
    "Statement",
    "StatementLine",
    "TokenUsage",
    "TotalsCursor",
]
