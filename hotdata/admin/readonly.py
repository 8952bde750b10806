"""Pages that only show: records are made by the system, and deleted by clean-up alone."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from hotdata.admin.bounded_list import BoundedListAdmin


class ReadOnlyAdmin(BoundedListAdmin):
    """Lists and shows rows; nobody can add, change or delete them here."""

    change_list_template = "hotdata/change_list.html"
    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
