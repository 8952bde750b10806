"""The page of a record: shown by a template of its own, and changed by nobody."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse


class RecordPage(admin.ModelAdmin):
    """Shows a row by the template ``admin/hotdata/MODEL/change_form.html``, with what `page_of` says of it."""

    def page_of(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """What the template gets beside what all pages get; its ``title`` is that of the page."""
        raise NotImplementedError

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        if request.method not in ("GET", "HEAD") or not self.has_view_permission(request):
            raise PermissionDenied
        row: Any = self.get_object(request, unquote(object_id))
        if row is None:
            gone: Any = self._get_obj_does_not_exist_redirect  # type: ignore[attr-defined]
            answer: HttpResponse = gone(request, self.opts, object_id)
            return answer
        return TemplateResponse(
            request,
            f"admin/hotdata/{self.opts.model_name}/change_form.html",
            self.admin_site.each_context(request)
            | {"opts": self.opts, "original": row, "has_view_permission": True, "media": self.media}
            | self.page_of(request, row)
            | (extra_context or {}),
        )
