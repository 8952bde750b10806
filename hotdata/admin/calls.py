"""The API calls page."""

from __future__ import annotations

from django.contrib import admin

from hotdata.admin.readonly import ReadOnlyAdmin
from hotdata.models import ApiCall


@admin.register(ApiCall)
class ApiCallAdmin(ReadOnlyAdmin):
    list_display = ["started_at", "source", "keys", "outcome", "status", "duration", "size", "error"]
    list_filter = ["outcome", "source", "started_at"]
    search_fields = ["keys", "error"]
