"""Mail: one message to one address, by Django's mail and so by whatever the site has chosen for that.

A server that refuses for good (5xx) is believed. All else may be over in a while.
"""

from __future__ import annotations

import contextlib
import smtplib
from typing import Any

from django.core import mail

from hotdata.models import Delivery
from hotdata.outbox.trying import NotDelivered
from hotdata.text import shortened, storable

FOR_GOOD = 500
SHOWN_OF_A_REPLY = 300  # characters
FOR_THE_OPERATOR = (530, 534, 535)
"""Wrong credentials. The next try may find them put right."""


def send_mail(delivery: Delivery) -> None:
    """Send `delivery`; returns when the server has taken it, and raises NotDelivered when it hasn't."""
    connection = _connection()
    try:
        message = mail.EmailMultiAlternatives(delivery.subject, delivery.text, to=[delivery.recipient])
        if delivery.html:
            message.attach_alternative(delivery.html, "text/html")
        taken = connection.send_messages([message])
    except smtplib.SMTPRecipientsRefused as error:
        code, reply = next(iter(error.recipients.values()), (0, b""))
        raise _refusal(code, reply) from None
    except smtplib.SMTPResponseException as error:
        raise _refusal(error.smtp_code, error.smtp_error) from None
    except smtplib.SMTPException as error:
        raise NotDelivered(f"{type(error).__name__}: {_readable(str(error))}") from None
    except OSError as error:
        raise NotDelivered(
            f"The mail server can't be reached: {error.strerror or type(error).__name__}."
        ) from None
    except ValueError as error:  # a header or an address that no mail may have
        raise NotDelivered(
            f"This is no mail that can be sent: {type(error).__name__}.", permanent=True
        ) from None
    finally:
        # Django leaves it open when the server refuses the credentials.
        with contextlib.suppress(OSError):
            connection.close()
    if not taken:
        raise NotDelivered("The mail backend took nothing.")


def _connection() -> Any:
    """A connection by the site's default mailer: since Django 6.1 there may be several."""
    mailers: Any = getattr(mail, "mailers", None)
    return mail.get_connection() if mailers is None else mailers["default"]


def _refusal(code: int, reply: Any) -> NotDelivered:
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else str(reply)
    permanent = code >= FOR_GOOD and code not in FOR_THE_OPERATOR
    return NotDelivered(f"The mail server answered {code}: {_readable(text)}", permanent=permanent)


def _readable(text: str) -> str:
    return shortened(storable(" ".join(text.split())), SHOWN_OF_A_REPLY)
