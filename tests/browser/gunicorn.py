"""How gunicorn serves the site of the browser tests: a free port of the loopback, and threads enough for a page."""

from typing import Any

bind = "127.0.0.1:0"
workers = 1
threads = 4
control_socket_disable = True  # it is in the home directory, and several tests run at once


def pre_request(worker: Any, request: Any) -> None:
    """Forget the ids of content types: tables are emptied after each test, and filled again with new ones."""
    from django.contrib.contenttypes.models import ContentType

    ContentType.objects.clear_cache()
