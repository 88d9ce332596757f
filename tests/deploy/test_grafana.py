"""The Grafana dashboard: it asks only for metrics and labels that the monitor exports."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.monitor.statuses import FULL

pytest.importorskip("prometheus_client")

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "andon.json"
_NAME = re.compile(r"andon_[a-z_]+")
_LABELLED = re.compile(r"(andon_[a-z_]+)\{([^}]*)\}")
_BY = re.compile(r"by \(([^)]*)\)")


def exported() -> dict[str, set[str]]:
    """Return the labels of each exported metric by its name."""
    from prometheus_client.parser import text_string_to_metric_families

    from andon.monitor.metrics import exposition

    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(exposition(FULL)[0].decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def dashboard() -> Any:
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


def queries() -> list[tuple[str, str]]:
    """Return each query with its legend."""
    return [(target["expr"], target["legendFormat"]) for panel in dashboard()["panels"] for target in panel["targets"]]


def test_each_metric_and_each_label_of_the_dashboard_is_exported() -> None:
    known = exported()

    for query, legend in queries():
        names = set(_NAME.findall(query))
        assert names, query
        assert names <= set(known), query
        for name, conditions in _LABELLED.findall(query):
            assert set(re.findall(r"(\w+)\s*[=!]", conditions)) <= known[name], query
        labels = set.intersection(*(known[name] for name in names))
        grouped = {label.strip() for group in _BY.findall(query) for label in group.split(",")}
        assert grouped <= labels, query
        assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= (grouped or labels), (query, legend)


def test_the_list_of_lines_comes_from_an_exported_label() -> None:
    (variable,) = (one for one in dashboard()["templating"]["list"] if one["name"] == "line")

    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
    assert label in exported()[metric]


def test_panels_do_not_overlap_and_have_numbers_of_their_own() -> None:
    panels = dashboard()["panels"]
    places = [
        (x, y)
        for grid in (panel["gridPos"] for panel in panels)
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]

    assert len(places) == len(set(places))
    assert all(x < 24 for x, _ in places)
    assert len({panel["id"] for panel in panels}) == len(panels)
