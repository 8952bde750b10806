"""`manage.py sendtestalert`: sends a test message to everybody who would be told of an alert, and says how it went."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from hotdata.alerting.telling import post_test
from hotdata.models import Delivery
from hotdata.outbox.sending import send


class Command(BaseCommand):
    help = (
        "Send a test message to each address of HOTDATA_ALERT_MAIL and each URL of HOTDATA_ALERT_URLS, now and from "
        "here, and say how each went. It ends with an error unless all were taken. What failed is tried again by the "
        "scheduler."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        posted = post_test(timezone.now())
        if not posted:
            raise CommandError("There is nobody to be told: set HOTDATA_ALERT_MAIL or HOTDATA_ALERT_URLS.")
        send(posted)
        deliveries = Delivery.objects.filter(id__in=[delivery.id for delivery in posted]).order_by("id")
        for delivery in deliveries:
            to = f"{delivery.get_channel_display()} to {delivery.recipient}"
            self.stdout.write(
                f"{to}: {delivery.get_state_display()}{f'. {delivery.error}' if delivery.error else ''}"
            )
        missing = [delivery for delivery in deliveries if delivery.state != Delivery.State.SENT]
        if missing:
            raise CommandError(f"{len(missing)} of {len(posted)} messages were not taken.")
