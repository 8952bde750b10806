"""The nodes page: which scheduler processes there are, which of them leads, and which died."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from hotdata.admin.readonly import ReadOnlyAdmin
from hotdata.conf import conf
from hotdata.models import Node


@admin.register(Node)
class NodeAdmin(ReadOnlyAdmin):
    list_display = ["name", "role", "running_now", "since", "host", "pid", "version", "heartbeat_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Node]:
        # Judged by the database's clock, which also wrote the heartbeat.
        nodes: Any = super().get_queryset(request)
        judged: QuerySet[Node] = nodes.with_life(conf().node_timeout)
        return judged

    @admin.display(description=_("role"))
    def role(self, node: Any) -> Any:
        if not node.alive:
            return _("dead")
        return _("leading") if node.leading else _("standing by")

    @admin.display(description=_("running runs"), ordering="running")
    def running_now(self, node: Any) -> int | None:
        """What a dead node said last is not shown: it runs nothing."""
        return node.running if node.alive else None

    @admin.display(description=_("since"), ordering="started_at")
    def since(self, node: Any) -> Any:
        return node.started_at
