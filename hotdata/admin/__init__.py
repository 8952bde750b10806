"""The Django admin's pages: parse, call, show."""

from hotdata.admin import calls, components, jobs, nodes, runs, sources, stock, tokens

__all__ = ["calls", "components", "jobs", "nodes", "runs", "sources", "stock", "tokens"]
