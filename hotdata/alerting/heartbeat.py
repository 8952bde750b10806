"""The heartbeat: a call to a URL elsewhere, for as long as all is well here.

Whoever waits for it there raises the alarm when none comes. It is what tells of a dead scheduler, or of a whole site
that is gone: these can't tell so themselves. So it is called only while the database, Redis and the scheduler are
not down, and the records are being looked at for alerts. Not by a word of failure: silence is what every such
service understands. The URL is a secret, like a password: it is in no log, error or record.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from urllib.parse import urlsplit

from hotdata.checks import is_safe_to_call
from hotdata.conf import conf
from hotdata.exceptions import HotdataError, UpstreamError, UpstreamForbidden
from hotdata.freshness.transport import Transport
from hotdata.models import Component, Look
from hotdata.models.components import Health

TIMEOUT = timedelta(seconds=10)
MOST_BYTES = 64 * 1024
UNSEEN_FOR = timedelta(minutes=10)
PORTS = {"http": 80, "https": 443}
PARTS = ("database", "redis", "scheduler")
"""Components without which nothing works. A source that is down is no reason for silence: it is alerted."""


class HeartbeatFailed(HotdataError):
    """The heartbeat URL didn't take the call."""


def beat(now: datetime) -> str:
    """Call the URL of the setting, if all is well; return what was done. Raises HeartbeatFailed."""
    url = conf().heartbeat_url
    if not url:
        return "HOTDATA_HEARTBEAT_URL is not set."
    if why := _why_not(now):
        return f"Not called: {why}"
    _call(url)
    return "Called."


def _why_not(now: datetime) -> str:
    down = Component.objects.filter(name__in=PARTS, state=Health.DOWN).order_by("name")
    names = list(down.values_list("name", flat=True))
    if names:
        return f"{', '.join(names)} down."
    looked_at = Look.objects.values_list("looked_at", flat=True).first()
    if looked_at is not None and now - looked_at > UNSEEN_FOR:
        return "nobody looks for alerts."
    return ""


def _call(url: str) -> None:
    if not is_safe_to_call(url):
        raise HeartbeatFailed("HOTDATA_HEARTBEAT_URL must begin with https://.")
    parts = urlsplit(url)
    # It comes from who runs the site, who may have a service of their own inside.
    here = f"{parts.hostname}:{parts.port or PORTS[parts.scheme]}"
    transport = Transport(concurrency=1, allow_private=[here], max_bytes=MOST_BYTES)
    failure = ""
    try:
        status = transport.get(url, headers={}, timeout=TIMEOUT).status
        if status >= 300:
            failure = f"it answered {status}"
    except UpstreamForbidden:
        failure = "it redirects, or is no address that may be called"
    except UpstreamError as error:
        failure = type(error).__name__
    finally:
        transport.close()
    if failure:  # out here: what the transport raises names the path, which is the secret
        raise HeartbeatFailed(f"The heartbeat URL was called in vain: {failure}.")
