"""The jobs in the admin: a list, a form, and a page around the form."""

from __future__ import annotations

from django.contrib import admin

from hotdata.admin.job_form import JobFormAdmin
from hotdata.admin.job_list import JobList
from hotdata.admin.job_page import JobPage
from hotdata.models import Job


@admin.register(Job)
class JobAdmin(JobList, JobPage, JobFormAdmin):
    """Nothing of its own."""
