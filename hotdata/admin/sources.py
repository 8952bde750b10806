"""The sources in the admin: a list, a page, and a form with the pinned keys."""

from __future__ import annotations

from django.contrib import admin

from hotdata.admin.source_form import SourceFormAdmin
from hotdata.admin.source_history import SourceHistory
from hotdata.admin.source_list import SourceList
from hotdata.admin.source_page import SourcePage
from hotdata.models import Source


@admin.register(Source)
class SourceAdmin(SourceList, SourcePage, SourceHistory, SourceFormAdmin):
    """Nothing of its own."""
