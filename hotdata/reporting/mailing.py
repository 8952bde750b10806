"""Mailing: posts the letter about a report or a statement to all whom the settings name, with a link to its page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from django.conf import settings
from django.db import models, transaction
from django.urls import NoReverseMatch, reverse
from django.utils import translation
from django.utils.translation import gettext as _

from hotdata.conf import conf
from hotdata.outbox.posting import post_mail
from hotdata.reporting.letters import MOST_ROWS, Letter, as_html, as_text


def post_letter(
    about: models.Model, write: Callable[[], Letter], *, now: datetime, most: int = MOST_ROWS
) -> int:
    """Post what `write` gives, in the site's language, to all or none; return how many they are.

    Of each table it has `most` rows.
    """
    if not conf().report_mail:
        return 0
    with translation.override(settings.LANGUAGE_CODE), transaction.atomic():
        letter, link = write(), link_to(about)
        posted = post_mail(
            conf().report_mail,
            about=str(about._meta.model_name),
            subject=f"hotdata: {letter.subject}",
            text=as_text(letter, link=link, most=most),
            html=as_html(letter, link=link, link_text=_("Open it in the admin"), most=most),
            now=now,
        )
    return len(posted)


def link_to(about: models.Model) -> str:
    """The address of a row's page in the admin; nothing where the settings don't say where people reach the site."""
    if not conf().site_url:
        return ""
    try:
        page = reverse(f"admin:hotdata_{about._meta.model_name}_change", args=[about.pk])
    except NoReverseMatch:  # a site without the admin
        return ""
    return conf().site_url.rstrip("/") + page
