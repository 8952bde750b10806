"""Takes django-apscheduler's own pages out of the admin.

They edit rows behind the scheduler's back, and their "run" action unpickles them inside the web request.
"""

import contextlib

from django.contrib import admin
from django.contrib.admin.exceptions import NotRegistered
from django_apscheduler.models import DjangoJob, DjangoJobExecution

for model in (DjangoJob, DjangoJobExecution):
    with contextlib.suppress(NotRegistered):
        admin.site.unregister(model)
