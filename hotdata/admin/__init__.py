"""The Django admin's pages: parse, call, show."""

from hotdata.admin import (
    calls,
    components,
    jobs,
    nodes,
    prices,
    reports,
    runs,
    sources,
    statements,
    stock,
    tokens,
    usage,
)

__all__ = [
    "calls",
    "components",
    "jobs",
    "nodes",
    "prices",
    "reports",
    "runs",
    "sources",
    "statements",
    "stock",
    "tokens",
    "usage",
]
