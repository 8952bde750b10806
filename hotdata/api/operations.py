"""Operations: what an endpoint takes and gives, declared at its view. The view is held to it, and described by it.

The query and the body are read into the structs that are declared, what the view returns is sent with the status that
is declared, and the OpenAPI description (`description`) is made of the same declaration. Permissions and methods are
told by the decorators that see to them, in `answers`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse

from hotdata.api.answers import View, json_answer, json_error
from hotdata.api.asking import Refused, body_of, query_of
from hotdata.exceptions import CacheUnavailable


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What an endpoint takes and gives; as a decorator it makes a view of a function.

    The function gets the query as ``asked`` and the body as ``body``, where there are such, and returns what the
    answer shall show, or a whole answer. It may raise Refused and CacheUnavailable.
    """

    answer: Any = None
    """The type of what it answers with in JSON; None where it never does."""
    texts: Sequence[str] = ()
    """The media types in which it answers with text, or can."""
    status: int = 200
    also: Mapping[int, str] = field(default_factory=dict)
    """Other statuses with an answer like that, and what they mean."""
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    errors: Mapping[int, str] = field(default_factory=dict)
    """What statuses mean here, beside those that any endpoint may answer with."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of the answer: what they say."""
    is_probe: bool = False
    """Whether nobody looks who asks, or how often."""

    def __call__(self, view: Callable[..., Any]) -> View:
        @functools.wraps(view)
        def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            try:
                if self.query is not None:
                    kwargs["asked"] = query_of(request, self.query)
                if self.body is not None:
                    kwargs["body"] = body_of(request, self.body)
                shown = view(request, *args, **kwargs)
            except Refused as refusal:
                return json_error(str(refusal), status=refusal.status, retry_after=refusal.retry_after)
            except CacheUnavailable as error:
                return json_error(str(error), status=503, retry_after=error.retry_after)
            return shown if isinstance(shown, HttpResponse) else json_answer(shown, status=self.status)

        answered.operation = self  # type: ignore[attr-defined]
        return answered
