"""Judges a page's accessibility with axe: all its rules, those of good practice among them."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

# Without preload: axe would copy stylesheets with @import into style elements, which the policy forbids.
RUN = (
    "selector => axe.run(selector || document, {resultTypes: ['violations'], preload: false})"
    ".then(found => found.violations)"
)


def axe(page: Page, selector: str = "") -> None:
    """Fail with every violation on the page, or in what `selector` chooses of it."""
    # Evaluated by the debugger: a script element would be against the policy, and to suspend that would hide breaches.
    page.evaluate(AXE_SCRIPT)
    violations: list[dict[str, Any]] = page.evaluate(RUN, selector)
    assert not violations, "\n\n".join([f"axe, of {page.url}:", *map(describe, violations)])


def describe(violation: dict[str, Any]) -> str:
    lines = [f"{violation['id']} ({violation['impact']}): {violation['help']}"]
    for node in violation["nodes"]:
        lines += [f"  {' '.join(map(str, node['target']))}", f"    {node['html'][:200]}"]
        lines += [f"    {line}" for line in node["failureSummary"].splitlines()]
    return "\n".join(lines)
