"""Languages: which answers are in one. Pages are; JSON is the same for everybody."""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware import locale


class LocaleMiddleware(locale.LocaleMiddleware):
    """Django's, but for the JSON endpoints.

    Of all that passes it, Django's says that it varies by the reader's language. Caches would keep an entry once for
    each of the thousands of ways in which browsers name theirs.
    """

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Mark `response` as being in a language, if it is."""
        match = request.resolver_match
        if match is not None and match.namespace == "hotdata":
            return response
        return super().process_response(request, response)
