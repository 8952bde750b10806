"""The dashboard for Grafana and the rules for Prometheus in `docs`: what they ask for is what a scrape has."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.utils import timezone
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from hotdata.freshness import meters
from hotdata.freshness.meters import Served
from hotdata.models import Component, Node, SourceUsage
from hotdata.models.runs import Cause, State
from hotdata.observing.metrics import read
from hotdata.observing.totals import roll_up
from tests.builders import make_job, make_run, make_source

DOCS = Path(__file__).resolve().parent.parent / "docs"
DASHBOARD = json.loads((DOCS / "grafana-dashboard.json").read_text())
RULES = yaml.safe_load((DOCS / "prometheus-alerts.yaml").read_text())

WIDTH = 24
SELECTOR = re.compile(r"\b(hotdata_[a-z_]+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|=|!=)"([^"]*)"')
BY = re.compile(r"by \(([^)]*)\)")
LEGEND = re.compile(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}")

Labels = dict[str, set[str]]


@pytest.fixture
def scraped(db: None, clear_cache: None) -> dict[str, Labels]:
    """The values that each label of each sample has, of a site where something of everything has happened."""
    now = timezone.now()
    roll_up(now)
    job, source = make_job(), make_source(name="stock")
    roll_up(now)
    started = {"attempt": 1, "started_at": now, "duration": now - now}
    make_run(job, state=State.SUCCEEDED, **started)
    make_run(job, state=State.MISSED, cause=Cause.SCHEDULE, scheduled_for=now)
    meters.note(source.name, Served.FRESH, 1.0)
    meters.flush()
    SourceUsage.add([SourceUsage(day=date(2026, 11, 1), source=source.name, calls=1)])
    Component.objects.create(name="redis", state="ok", since=now, checked_at=now)
    Node.objects.create(name="one", host="here", pid=1, version="1", leading=True)
    found: dict[str, Labels] = {}
    for family in text_string_to_metric_families(generate_latest(read(now)).decode()):  # type: ignore[arg-type]
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


def panels() -> Iterator[dict[str, Any]]:
    for panel in DASHBOARD["panels"]:
        yield panel
        yield from panel.get("panels", [])


def queries() -> list[str]:
    """All that is asked of Prometheus: by panels, for variables, and by rules."""
    asked = [target["expr"] for panel in panels() for target in panel.get("targets", [])]
    asked += [variable["definition"] for variable in DASHBOARD["templating"]["list"]]
    return asked + [rule["expr"] for rule in rules()]


def rules() -> list[dict[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def assert_is_there(query: str, scraped: dict[str, Labels]) -> None:
    """Each metric that `query` names is in a scrape, and its labels and their values can be."""
    selectors = SELECTOR.findall(query)
    labels: set[str] = set()
    for name, matchers in selectors:
        assert name in scraped, f"{name} is in no scrape"
        labels |= scraped[name].keys()
        for label, how, value in MATCHER.findall(matchers):
            assert label in scraped[name], f"{name} has no label {label}"
            if not value.startswith("$") and label not in ("reason",):
                known = scraped[name][label]
                assert all(one in known for one in value.split("|")), f"{name} has no {label}{how}{value}"
    for grouped in BY.findall(query):
        assert {label.strip() for label in grouped.split(",")} <= labels, (
            f"{query} groups by what isn't there"
        )


def test_all_that_is_asked_for_is_in_a_scrape(scraped: dict[str, Labels]) -> None:
    for query in queries():
        assert_is_there(query, scraped)


def test_a_query_for_what_is_not_there_would_be_found_out(scraped: dict[str, Labels]) -> None:
    for query in ("hotdata_nothing", 'hotdata_nodes{state="asleep"}', "sum by (node) (hotdata_nodes)"):
        with pytest.raises(AssertionError):
            assert_is_there(query, scraped)


def test_whatever_a_scrape_has_is_shown_somewhere(scraped: dict[str, Labels]) -> None:
    asked = " ".join(queries())
    # Of a histogram its buckets will do.
    left = {
        name
        for name in scraped
        if re.sub(r"_(sum|count)$", "_bucket", name) not in asked and name not in asked
    }
    assert left == set()


def test_legends_and_summaries_name_labels_that_are_there(scraped: dict[str, Labels]) -> None:
    told = [
        (target["expr"], target["legendFormat"]) for panel in panels() for target in panel.get("targets", [])
    ]
    told += [(rule["expr"], rule["annotations"]["summary"]) for rule in rules() if "hotdata_" in rule["expr"]]
    for query, text in told:
        grouped = BY.findall(query)
        labels = {label for name, _ in SELECTOR.findall(query) for label in scraped[name]}
        if grouped:
            labels = {label.strip() for labels in grouped for label in labels.split(",")}
        assert set(LEGEND.findall(text)) <= labels, (query, text)


def test_the_dashboard_can_be_imported() -> None:
    assert [given["name"] for given in DASHBOARD["__inputs"]] == ["DS_PROMETHEUS"]
    assert DASHBOARD["id"] is None
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)
    sources = [panel["datasource"]["uid"] for panel in panels() if panel["type"] != "row"]
    sources += [target["datasource"]["uid"] for panel in panels() for target in panel.get("targets", [])]
    assert set(sources) == {"${DS_PROMETHEUS}"}
    required = {need["id"] for need in DASHBOARD["__requires"] if need["type"] == "panel"}
    assert {panel["type"] for panel in panels()} - {"row"} == required


def test_panels_stand_side_by_side_and_say_what_they_show() -> None:
    taken: Counter[tuple[int, int]] = Counter()
    for panel in panels():
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= WIDTH
        taken.update(
            (x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
        )
        assert panel["title"]
        if panel["type"] != "row":
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
            references = [target["refId"] for target in panel["targets"]]
            assert references
            assert len(set(references)) == len(references)
    assert set(taken.values()) == {1}


def test_each_rule_says_what_is_wrong_and_how_bad_it_is() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert rule["annotations"]["summary"].endswith((".", "?"))
