"""JSON answers, and who may ask: every error is ``{"error": …}`` with its status, also a refusal.

They are in English, whatever language a browser prefers: programs read them. Who asks, with a token of the API or by
the admin's session, and whether they do so too often, `callers` finds out.
"""

from __future__ import annotations

import functools
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
from django.views import defaults

from hotdata.api.callers import count_address, identify, token_of
from hotdata.conf import conf
from hotdata.exceptions import TokenRefused, TooManyRequests
from hotdata.logs import EventLogger

logger = EventLogger(__name__)

DATABASE_BACK = timedelta(seconds=5)
CHALLENGE = 'Bearer realm="hotdata"'

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


def unauthorized(message: str, *, reason: str = "") -> HttpResponse:
    """401: nobody said who they are, or, with a `reason` of RFC 6750 (3.1), not in a way that counts."""
    answer = json_error(message, status=401)
    answer["WWW-Authenticate"] = (
        f'{CHALLENGE}, error="{reason}", error_description="{message}"' if reason else CHALLENGE
    )
    return answer


def too_many(refusal: TooManyRequests) -> HttpResponse:
    """429, with the limit and what is left of it (draft-ietf-httpapi-ratelimit-headers)."""
    answer = json_error(str(refusal), status=429, retry_after=refusal.retry_after)
    limit, wait = f'"{refusal.limit}"', answer["Retry-After"]
    answer["RateLimit-Policy"] = f"{limit};q={refusal.amount};w={refusal.window.total_seconds():.0f}"
    answer["RateLimit"] = f"{limit};r=0;t={wait}"
    return answer


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

        guarded.methods = allowed  # type: ignore[attr-defined]
        if SAFE_METHODS.issuperset(allowed):
            guarded.csrf_exempt = True  # type: ignore[attr-defined]
        return guarded

    return decorate


def _in_json(view: View, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    """`view`, in English, and with JSON for what it raises: who asks is refused, or asks too often; and in place of
    the pages by which Django refuses what is too much, or fails without a database.
    """
    try:
        with override("en"):
            return view(request, *args, **kwargs)
    except TokenRefused as refusal:
        return unauthorized(str(refusal), reason="invalid_token")
    except TooManyRequests as refusal:
        return too_many(refusal)
    except (RequestDataTooBig, TooManyFieldsSent) as error:
        return json_error(str(error), status=413)
    except OperationalError:
        logger.exception("api.database_away", path=request.path)
        return json_error(
            "The database can't be used now; nothing was done.", status=503, retry_after=DATABASE_BACK
        )


def staff_with(permission: str) -> Callable[[View], View]:
    """Let in only staff who have `permission`, and tokens whose users have it; others get 401 or 403.

    Django's middleware would refuse a POST without a CSRF token before all this, in HTML: here that comes last. For a
    token of the API it is left out: see `callers`. Its user need not be staff, which is about the admin's pages.
    """

    def decorate(view: View) -> View:
        checked = cast(View, csrf_checked(view))

        @functools.wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            identify(request)
            token = token_of(request)
            if token is None and not request.user.is_authenticated:
                return unauthorized("Log in, or send a token: Authorization: Bearer …")
            if token is not None and token.read_only and request.method not in SAFE_METHODS:
                return json_error("This token may only read.", status=403)
            may_in = token is not None or request.user.is_staff
            if not (request.user.is_active and may_in and request.user.has_perm(permission)):
                return json_error(f"This needs the permission {permission}.", status=403)
            answer = (checked if token is None else view)(request, *args, **kwargs)
            answer.headers.setdefault("Cache-Control", "private, no-store")
            return answer

        guarded.csrf_exempt = True  # type: ignore[attr-defined]
        guarded.permission = permission  # type: ignore[attr-defined]
        return guarded

    return decorate


def open_to_readers(view: View) -> View:
    """Let in everybody, or with the setting ``HOTDATA_READS_NEED_TOKEN`` only tokens and whoever is logged in.

    No permission is needed. A token that is not valid is refused, also where none is needed.
    """

    @functools.wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        needed = conf().reads_need_token
        try:
            identify(request)
        except OperationalError:
            if needed:
                raise
            count_address(request)  # what is everybody's is served while no token can be looked up
        if needed and token_of(request) is None and not request.user.is_authenticated:
            return unauthorized("Reads need a token here: Authorization: Bearer …")
        return view(request, *args, **kwargs)

    return guarded


@open_to_readers
def _nothing_here(request: HttpRequest) -> HttpResponse:
    return json_error("There is nothing here.", status=404)


def not_found(request: HttpRequest) -> HttpResponse:
    """What no other path leads to."""
    return _in_json(_nothing_here, request)


def server_error(request: HttpRequest) -> HttpResponse:
    """A site's ``handler500``: JSON for the endpoints here, and Django's page for all else. Django has logged it."""
    if request.resolver_match is None or "hotdata" not in request.resolver_match.app_names:
        return defaults.server_error(request)
    return json_error("Something is broken here. The log says what.", status=500)


class _CsrfCheck(CsrfViewMiddleware):
    def _reject(self, request: HttpRequest, reason: str) -> HttpResponse:
        return json_error(reason, status=403)


csrf_checked = decorator_from_middleware(_CsrfCheck)
