"""The history of a job: what is special about it is the pause, which takes a permission of its own."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from hotdata.admin.change_log import ChangeLog
from hotdata.admin.edit_history import differing_fields
from hotdata.admin.job_actions import JobActions
from hotdata.admin.job_form import PAUSE_FIELDS
from hotdata.observing.edits import Edit, edits_of_job

FOLLOWS = {"paused_by"}
"""What nobody sets: it says who paused."""


class JobHistory(ChangeLog, JobActions):
    """The part of the jobs' admin that shows edits and takes them back."""

    def edits_of(self, name: str, limit: int, offset: int = 0) -> list[Edit]:
        return edits_of_job(name, limit, offset)

    def may_revert_fields(self, request: HttpRequest, fields: set[str]) -> bool:
        if not fields - FOLLOWS:
            return False
        return PAUSE_FIELDS.isdisjoint(fields) or self.has_pause_permission(request)

    def bring_back(self, request: HttpRequest, edit: Edit, row: Any) -> Any:
        edits_pause = row is None or not PAUSE_FIELDS.isdisjoint(differing_fields(row, edit.version))
        if edit.version.paused and edits_pause:
            edit.version.paused_by = request.user.get_username()
        return super().bring_back(request, edit, row)
