"""The Django admin's pages: parse, call, show."""

from hotdata.admin import calls, jobs, nodes, runs, sources, stock, tokens

__all__ = ["calls", "jobs", "nodes", "runs", "sources", "stock", "tokens"]
