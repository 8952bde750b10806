"""JMESPath: whether a text is a path into JSON data, and what it leads to."""

from __future__ import annotations

from typing import Any

import jmespath
from django.utils.translation import gettext as _
from jmespath.exceptions import JMESPathError

from hotdata.exceptions import BadSource, UpstreamPayload

MAX_EXPRESSION = 500
# JMESPath lets some of Python's own through: a slice by zero, brackets that are nested too deep.
EXPRESSION_ERRORS = (JMESPathError, ValueError, RecursionError)


def check_expression(field: str, expression: str) -> None:
    """Raise BadSource, blaming `field`, unless `expression` is a JMESPath; an empty one is."""
    if len(expression) > MAX_EXPRESSION:
        raise BadSource(field, _("At most %(most)d characters.") % {"most": MAX_EXPRESSION})
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in expression):
        # In a quoted text, JMESPath itself takes any.
        raise BadSource(field, _("This holds characters that can't be stored."))
    if expression:
        try:
            jmespath.compile(expression)
        except EXPRESSION_ERRORS as error:
            message = _("This is not a JMESPath expression: %(problem)s")
            raise BadSource(field, message % {"problem": error}) from error


def search(expression: str, document: Any) -> Any:
    """What `expression` leads to: all of `document` for an empty one, None where it leads to nothing.

    Raises UpstreamPayload where the document isn't of the shape that the expression expects.
    """
    if not expression:
        return document
    try:
        return jmespath.search(expression, document)
    except Exception as error:
        # Without jmespath's own words, which repeat a part of the answer.
        raise UpstreamPayload(f"The answer doesn't fit {expression!r} ({type(error).__name__}).") from error
