"""Pushing: one message to one URL of the setting, by apprise, which is an extra.

The URLs hold secrets. Apprise writes them, and what it is answered, into its log; so that is silenced, and of a failure
no more is told than that there was one.
"""

from __future__ import annotations

import logging
from typing import Any

from hotdata.conf import conf
from hotdata.models import Delivery
from hotdata.outbox.trying import NotDelivered

INSTALL = "Install requirements-apprise.txt where the scheduler runs."


def push(delivery: Delivery) -> None:
    """Send `delivery`; raises NotDelivered."""
    try:
        apprise = _apprise()
    except ImportError:
        raise NotDelivered(f"apprise is not installed. {INSTALL}") from None
    which = f"URL {delivery.recipient} of HOTDATA_ALERT_URLS"
    try:
        url = conf().alert_urls[int(delivery.recipient)]
    except IndexError:
        raise NotDelivered(f"There is no {which} any more.", permanent=True) from None
    notifier = apprise.Apprise()
    if not notifier.add(url):
        raise NotDelivered(f"{which} is none that apprise knows.", permanent=True)
    try:
        taken = notifier.notify(
            title=delivery.subject, body=delivery.text, body_format=apprise.NotifyFormat.TEXT
        )
    except Exception as error:  # noqa: BLE001 - a hundred plugins may raise anything, with the URL in it
        raise NotDelivered(f"{which} failed: {type(error).__name__}.") from None
    if not taken:
        raise NotDelivered(f"{which} didn't take the message.")


def _apprise() -> Any:
    """The library, silent. It takes 0.2 s to load and is an extra: whoever sends no such message does without."""
    import apprise

    logging.getLogger("apprise").disabled = True
    # At DEBUG, urllib3 logs the path of each request, where most services have their token.
    network = logging.getLogger("urllib3")
    if network.getEffectiveLevel() < logging.INFO:
        network.setLevel(logging.INFO)
    return apprise
