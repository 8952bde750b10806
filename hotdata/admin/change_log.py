"""The change log of a definition: its edits, also after it was deleted, and the way back to an earlier version."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from hotdata.admin.edit_history import ShownEdit, bring_back, differing_fields, shown
from hotdata.exceptions import HotdataError
from hotdata.observing.edits import Edit, deleted, edit_of
from hotdata.pages.words import absolute
from hotdata.text import is_number

EDITS_ON_A_PAGE = 50
MOST_ACTIONS = 50
MOST_DELETED = 200


class ChangeLog(admin.ModelAdmin):
    """The part of a model's admin that shows edits and takes them back. The model's rows are known by their `name`."""

    def edits_of(self, name: str, limit: int, offset: int = 0) -> list[Edit]:
        """The edits of what is called `name`, whether it is there now or not, latest first."""
        raise NotImplementedError

    def may_revert_fields(self, request: HttpRequest, fields: set[str]) -> bool:
        """Whether someone who may change the row may change `fields` of it, too."""
        return True

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("deleted/", wrap(self.deleted_view), name=self._name("deleted")),
            path("deleted/<slug:name>/", wrap(self.deleted_row_view), name=self._name("deleted_row")),
            path("revert/<int:edit_id>/", wrap(self.revert_view), name=self._name("revert")),
            *super().get_urls(),
        ]

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The edits of a row."""
        row = self.get_object(request, object_id)
        if row is None:
            return super().history_view(request, object_id)  # which says so
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        return self._log(request, row.name, row)

    @method_decorator(require_GET)
    def deleted_row_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """The edits of a row that is no more, by its name."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self._row(name)
        if row is not None:
            return HttpResponseRedirect(self._log_of(name, row))
        return self._log(request, name, None)

    @method_decorator(require_GET)
    def deleted_view(self, request: HttpRequest) -> HttpResponse:
        """The rows that were deleted and are not there again."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = [
            {"edit": edit, "url": self._log_of(edit.version.name, None)}
            for edit in deleted(self.model, MOST_DELETED)
        ]
        context = self.admin_site.each_context(request) | {
            "title": _("Deleted %(rows)s") % {"rows": self.opts.verbose_name_plural},
            "opts": self.opts,
            "deleted": found,
        }
        return TemplateResponse(request, "hotdata/history/deleted.html", context)

    @method_decorator(require_POST)
    def revert_view(self, request: HttpRequest, edit_id: int) -> HttpResponse:
        """Bring back the version that an edit led to; make the row again where it was deleted."""
        edit = edit_of(self.model, edit_id)
        if edit is None:
            raise Http404
        row = self._row(edit.version.name)
        if not self._may_revert(request, edit, row):
            raise PermissionDenied
        try:
            saved = self.bring_back(request, edit, row)
        except (ValidationError, HotdataError) as error:
            for text in self._texts(error):
                self.message_user(request, text, messages.ERROR)
            return HttpResponseRedirect(self._log_of(edit.version.name, row))
        when = absolute(edit.at)
        log = self.log_addition if row is None else self.log_change
        log(request, saved, f"Reverted to the version of {when}.")
        said = _("Reverted to the version of %(when)s.") % {"when": when}
        self.message_user(request, said, messages.SUCCESS)
        return HttpResponseRedirect(self._log_of(saved.name, saved))

    def bring_back(self, request: HttpRequest, edit: Edit, row: Any) -> Any:
        """Make `row` what it was after `edit`, and return it. Raises ValidationError, HotdataError."""
        return bring_back(edit, row)

    def shown_edits(self, request: HttpRequest, name: str, row: Any, limit: int) -> list[ShownEdit]:
        """The latest edits of what is called `name`, each with where one goes back to it, if the user may."""
        return [self._shown(request, edit, row) for edit in self.edits_of(name, limit)]

    def _log(self, request: HttpRequest, name: str, row: Any) -> HttpResponse:
        page = request.GET.get("p", "0")
        offset = EDITS_ON_A_PAGE * min(int(page) if is_number(page, digits=5) else 0, 10_000)
        found = self.edits_of(name, EDITS_ON_A_PAGE + 1, offset)
        if row is None and not found:
            raise Http404
        context = self.admin_site.each_context(request) | {
            "title": _("Change log of %(row)s") % {"row": row or name},
            "opts": self.opts,
            "object": row,
            "edits": [self._shown(request, edit, row) for edit in found[:EDITS_ON_A_PAGE]],
            "actions": [] if row is None or offset else self._actions(row)[:MOST_ACTIONS],
            "later": offset // EDITS_ON_A_PAGE - 1 if offset else None,
            "earlier": offset // EDITS_ON_A_PAGE + 1 if len(found) > EDITS_ON_A_PAGE else None,
        }
        return TemplateResponse(request, "hotdata/history/log.html", context)

    def _actions(self, row: Any) -> QuerySet[LogEntry]:
        """What people had done with `row`, latest first. What Django wrote of its forms is among the edits."""
        entries = LogEntry.objects.filter(
            content_type=ContentType.objects.get_for_model(self.model), object_id=quote(row.pk)
        )
        return entries.exclude(change_message__startswith="[").select_related("user").order_by("-pk")

    def _shown(self, request: HttpRequest, edit: Edit, row: Any) -> ShownEdit:
        may = self._may_revert(request, edit, row)
        return shown(edit, revert=reverse(f"admin:{self._name('revert')}", args=[edit.id]) if may else "")

    def _may_revert(self, request: HttpRequest, edit: Edit, row: Any) -> bool:
        """Whether there is something to bring back, and the user may change all of it."""
        if not isinstance(edit.version, self.model):
            return False  # an edit of what belongs to the row
        if row is None:
            may = self.has_add_permission(request) and self.has_view_permission(request)
            differing = differing_fields(
                self.model(), edit.version
            )  # from what a new one would have by itself
        else:
            may = self.has_change_permission(request, row)
            differing = differing_fields(row, edit.version)
        return bool(differing) and may and self.may_revert_fields(request, differing)

    def _row(self, name: str) -> Any:
        return self.model._default_manager.filter(name=name).first()

    def _log_of(self, name: str, row: Any) -> str:
        if row is None:
            return reverse(f"admin:{self._name('deleted_row')}", args=[name])
        return reverse(f"admin:{self._name('history')}", args=[row.pk])

    def _name(self, page: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{page}"

    def _texts(self, error: ValidationError | HotdataError) -> list[str]:
        """What is wrong, with the name of the field that it is wrong with."""
        if isinstance(error, HotdataError) or not hasattr(error, "error_dict"):
            return [str(error)]
        labels = {field.name: str(field.verbose_name) for field in self.opts.concrete_fields}
        return [
            _("%(field)s: %(error)s") % {"field": labels[name], "error": text} if name in labels else text
            for name, texts in error.message_dict.items()
            for text in texts
        ]
