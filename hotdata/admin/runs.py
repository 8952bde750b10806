"""The runs' admin: a list of all records, a page for each, and what can be done with them."""

from __future__ import annotations

from django.contrib import admin

from hotdata.admin.run_actions import RunActions
from hotdata.admin.run_list import RunList
from hotdata.admin.run_page import RunPage
from hotdata.models import Run


@admin.register(Run)
class RunAdmin(RunList, RunPage, RunActions):
    """All that there is for runs."""
