"""The silences in the admin: of whom nobody is told, until when, and by whose word."""

from __future__ import annotations

from django.contrib import admin, messages
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from hotdata.admin.readonly import ReadOnlyAdmin
from hotdata.models import Silence
from hotdata.models.silences import SilenceQuerySet
from hotdata.pages import words


@admin.register(Silence)
class SilenceAdmin(ReadOnlyAdmin):
    change_form_template = "admin/hotdata/silence/change_form.html"
    list_display = ["name", "of", "state", "ends", "by", "note", "created_at"]
    list_filter = ["of"]
    search_fields = ["name", "note", "by"]
    search_help_text = gettext_lazy("A part of the name, of the note or of who made it.")
    sortable_by = ()
    actions = ["end_silences"]
    readonly_fields = ["state"]
    fields = ["of", "name", "state", "until", "note", "by", "created_at", "ended_at", "ended_by"]

    def has_end_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("hotdata.change_silence")

    @admin.action(description=gettext_lazy("End selected silences"), permissions=["end"])
    def end_silences(self, request: HttpRequest, silences: SilenceQuerySet) -> None:
        ended = silences.end(request.user.get_username(), timezone.now())
        if ended:
            text = ngettext("%(n)d silence has ended.", "%(n)d silences have ended.", ended)
            self.message_user(request, text % {"n": ended}, messages.SUCCESS)
        else:
            self.message_user(request, _("The selected silences had ended already."), messages.WARNING)

    @admin.display(description=gettext_lazy("state"))
    def state(self, silence: Silence) -> SafeString:
        is_over = silence.ended_at is not None or silence.until <= timezone.now()
        return words.pill("closed" if is_over else "paused", _("Over") if is_over else _("Silent"))

    @admin.display(description=gettext_lazy("ends"))
    def ends(self, silence: Silence) -> SafeString:
        return words.ago(silence.ended_at or silence.until, timezone.now())
