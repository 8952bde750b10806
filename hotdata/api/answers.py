"""JSON answers, and who may ask: every error is ``{"error": …}`` with its status, also a refusal.

They are in English, whatever language a browser prefers: programs read them.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, cast

import msgspec
from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.utils import timezone
from django.utils.decorators import decorator_from_middleware
from django.utils.translation import override

logger = logging.getLogger(__name__)

DATABASE_BACK = timedelta(seconds=5)

View = Callable[..., HttpResponse]
SAFE_METHODS = frozenset({"GET", "HEAD"})


def json_answer(data: Any, *, status: int = 200) -> HttpResponse:
    """`data` as JSON; text stays readable, datetimes are ISO 8601 with their offset."""
    return HttpResponse(
        msgspec.json.encode(data) + b"\n", status=status, content_type="application/json; charset=utf-8"
    )


def json_error(message: str, *, status: int, retry_after: timedelta | None = None) -> HttpResponse:
    """`message` as an error, which no cache keeps: a 404 of today may be served tomorrow."""
    answer = json_answer({"error": message}, status=status)
    answer["Cache-Control"] = "no-store"
    if retry_after is not None:
        answer["Retry-After"] = str(max(1, round(retry_after.total_seconds())))
    return answer


def not_found(request: HttpRequest) -> HttpResponse:
    """What no other path leads to."""
    return json_error("There is nothing here.", status=404)


def local(moment: datetime | None) -> str | None:
    """`moment` as ISO 8601 in the site's time zone, so that its offset is the one that people here expect."""
    return None if moment is None else timezone.localtime(moment).isoformat()


def methods(*allowed: str) -> Callable[[View], View]:
    """Answer other methods than `allowed` with 405 in JSON."""

    def decorate(view: View) -> View:
        @functools.wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if request.method in allowed:
                return _in_json(view, request, *args, **kwargs)
            answer = json_error(f"Use {' or '.join(allowed)} here.", status=405)
            answer["Allow"] = ", ".join(allowed)
            return answer

        if SAFE_METHODS.issuperset(allowed):
            guarded.csrf_exempt = True  # type: ignore[attr-defined]
        return guarded

    return decorate


def _in_json(view: View, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    """`view`, in English, and with JSON in place of the pages by which Django refuses what is too much, or fails
    without a database.
    """
    try:
        with override("en"):
            return view(request, *args, **kwargs)
    except (RequestDataTooBig, TooManyFieldsSent) as error:
        return json_error(str(error), status=413)
    except OperationalError:
        logger.exception("api.database_away path=%s", request.path)
        return json_error(
            "The database can't be used now; nothing was done.", status=503, retry_after=DATABASE_BACK
        )


def staff_with(permission: str) -> Callable[[View], View]:
    """Let in only staff who have `permission`: others get 401 (not logged in) or 403.

    Django's middleware would refuse a POST without a CSRF token before all this, in HTML: here that comes last.
    """

    def decorate(view: View) -> View:
        checked = cast(View, csrf_checked(view))

        @functools.wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not request.user.is_authenticated:
                return json_error("Log in first.", status=401)
            if not (request.user.is_active and request.user.is_staff and request.user.has_perm(permission)):
                return json_error(f"This needs the permission {permission}.", status=403)
            answer = checked(request, *args, **kwargs)
            answer.headers.setdefault("Cache-Control", "private, no-store")
            return answer

        guarded.csrf_exempt = True  # type: ignore[attr-defined]
        return guarded

    return decorate


class _CsrfCheck(CsrfViewMiddleware):
    def _reject(self, request: HttpRequest, reason: str) -> HttpResponse:
        return json_error(reason, status=403)


csrf_checked = decorator_from_middleware(_CsrfCheck)
