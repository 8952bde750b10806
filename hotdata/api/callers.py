"""Who asks the API: somebody with a token, or an address; and whether they ask too often.

With `Authorization: Bearer …` the token is all that counts. A session that comes with it is ignored, also when the
token is wrong: so nothing is ever done in the name of whose browser it is, and no check against CSRF is needed. A
browser sends this header by no form and no link, and a script of another site only where the site allows it, which
this one never does. Every other header leaves all as if it were not there.
"""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network

from django.http import HttpRequest
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from hotdata.api import rates, usage
from hotdata.api.clients import Address, address_of
from hotdata.exceptions import TokenRefused
from hotdata.models import ApiToken

SCHEME = "bearer"
REFUSALS = {
    ApiToken.State.EXPIRED: "This token has expired.",
    ApiToken.State.REVOKED: "This token was revoked.",
    ApiToken.State.ORPHANED: "The user of this token is gone or not active.",
}
SUBSCRIBER = 64  # bits of an IPv6 address: whoever has one has all the others that begin so


@sensitive_variables()
def identify(request: HttpRequest) -> None:
    """Find out who asks, and count it.

    With a token, `request.user` is its user from here on. Each request costs one query for its token, and one round
    trip to Redis. Raises TokenRefused and TooManyRequests; OperationalError when the token can't be looked up.
    """
    sent = _token_sent_with(request)
    if sent is None:
        count_address(request)
        return
    try:
        token = _accepted(sent)
    except TokenRefused:
        rates.count_wrong_token(_counted_as(address_of(request)))
        raise
    rates.count_token(token.name)
    usage.note_use(token)
    request.user = token.user  # type: ignore[assignment]
    request.api_token = token  # type: ignore[attr-defined]


def token_of(request: HttpRequest) -> ApiToken | None:
    """The token with which somebody asks who was identified; None for a session, and for nobody."""
    return getattr(request, "api_token", None)


def count_address(request: HttpRequest) -> None:
    """Count a request without a token. Raises TooManyRequests."""
    rates.count_address(_counted_as(address_of(request)))


def _counted_as(address: Address | None) -> str:
    """In whose name `address` is counted."""
    if address is None:
        return "unknown"
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address), SUBSCRIBER), strict=False))
    return str(address)


@sensitive_variables()
def _token_sent_with(request: HttpRequest) -> str | None:
    """What is sent as a token, whatever it is; None without one."""
    scheme, _, credentials = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return credentials.strip() if scheme.lower() == SCHEME else None


@sensitive_variables()
def _accepted(sent: str) -> ApiToken:
    """The token that was sent, if it is valid at this moment. Raises TokenRefused."""
    token = ApiToken.objects.with_secret(sent)
    if token is None:
        raise TokenRefused("There is no such token.")
    state = token.state_at(timezone.now())
    if state != ApiToken.State.VALID:
        raise TokenRefused(REFUSALS[state])
    return token
