"""The history of a source: its own edits, which can be taken back, among those of its pinned keys."""

from __future__ import annotations

from hotdata.admin.change_log import ChangeLog
from hotdata.observing.edits import Edit, edits_of_source


class SourceHistory(ChangeLog):
    """The part of the sources' admin that shows edits and takes them back. Keys stay pinned as they are."""

    def edits_of(self, name: str, limit: int, offset: int = 0) -> list[Edit]:
        return edits_of_source(name, limit, offset)
