"""Who may see what. Whoever may change something may see it, as everywhere in Django's admin."""

from __future__ import annotations

from typing import Any


def may_see(user: Any, model: str) -> bool:
    """Whether `user` may see rows of the model called `model` in lower case."""
    return bool(user.has_perm(f"hotdata.view_{model}") or user.has_perm(f"hotdata.change_{model}"))


def may(user: Any, action: str, model: str) -> bool:
    """Whether `user` may do `action` (add, run, refresh) to rows of `model`."""
    return bool(user.has_perm(f"hotdata.{action}_{model}"))
