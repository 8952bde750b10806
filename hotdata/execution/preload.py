"""Brings up Django in the fork server, once for all the processes that it forks.

Imported for that effect, before anything that needs models. Where Django is up already, it does nothing.
"""

from __future__ import annotations

import gc
import os

import django
from django.apps import apps
from django.db import connections

if not apps.ready:
    # Ctrl-C in a terminal goes to a whole process group, and would end the server in the middle of its imports.
    os.setsid()
    django.setup()
    # An app may have asked the database while it loaded; a connection can't be shared with what is forked.
    connections.close_all()
    # What all children share stays shared: a collection would write into each page of it.
    gc.freeze()
