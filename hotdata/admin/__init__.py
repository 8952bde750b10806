"""The Django admin's pages: parse, call, show."""

from hotdata.admin import (
    alerts,
    calls,
    components,
    deliveries,
    jobs,
    nodes,
    prices,
    reports,
    runs,
    silences,
    sources,
    statements,
    stock,
    tokens,
    usage,
)

__all__ = [
    "alerts",
    "calls",
    "components",
    "deliveries",
    "jobs",
    "nodes",
    "prices",
    "reports",
    "runs",
    "silences",
    "sources",
    "statements",
    "stock",
    "tokens",
    "usage",
]
