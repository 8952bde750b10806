"""What Django shows of an error, on its pages while debugging and in mail to admins: no URL that holds a password."""

from __future__ import annotations

import re

from django.views.debug import SafeExceptionReporterFilter


class WithoutSecrets(SafeExceptionReporterFilter):
    """Hides what Django does, and URLs: those of databases, brokers, mail servers and webhooks hold secrets.

    The development server passes the whole environment on with each request, where they are, too.
    """

    hidden_settings = re.compile(
        rf"{SafeExceptionReporterFilter.hidden_settings.pattern}|URL(?!CONF)|DSN|LOCATION", re.IGNORECASE
    )
