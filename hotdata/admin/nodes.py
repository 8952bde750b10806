"""The nodes page: which scheduler processes there are, which of them leads, and which died."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from hotdata.admin.readonly import ReadOnlyAdmin
from hotdata.conf import conf
from hotdata.models import Node
from hotdata.observing import schedulers
from hotdata.pages import words


@admin.register(Node)
class NodeAdmin(ReadOnlyAdmin):
    change_list_template = "admin/hotdata/node/change_list.html"
    list_display = ["name", "role", "beat", "running_now", "since", "where", "version"]
    readonly_fields = ["role", "beat", "running_now", "since"]
    fields = ["name", "role", "beat", "running_now", "since", "host", "pid", "version"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Node]:
        # Judged by the database's clock, which also wrote the heartbeat.
        nodes: Any = super().get_queryset(request)
        judged: QuerySet[Node] = nodes.with_life(conf().node_timeout)
        return judged

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """With a word for who finds no scheduler at work."""
        return super().changelist_view(
            request, {"leaderless": schedulers.look().leader is None} | (extra_context or {})
        )

    @admin.display(description=_("role"))
    def role(self, node: Any) -> SafeString:
        if not node.alive:
            return words.pill("dead", gettext("Dead"))
        return (
            words.pill("leading", gettext("Leading"))
            if node.leading
            else words.pill("standing_by", gettext("Standing by"))
        )

    @admin.display(description=_("last heartbeat"), ordering="heartbeat_at")
    def beat(self, node: Any) -> SafeString:
        """Its distance by the database's clock, whatever this process's says."""
        now = node.heartbeat_at + max(node.silent_for, timedelta())
        return words.ago(node.heartbeat_at, now)

    @admin.display(description=_("running runs"), ordering="running")
    def running_now(self, node: Any) -> int | None:
        """What a dead node said last is not shown: it runs nothing."""
        return node.running if node.alive else None

    @admin.display(description=_("since"), ordering="started_at")
    def since(self, node: Any) -> SafeString:
        return words.ago(node.started_at, node.heartbeat_at + max(node.silent_for, timedelta()))

    @admin.display(description=_("host and process"), ordering="host")
    def where(self, node: Node) -> str:
        return f"{node.host} / {node.pid}"
