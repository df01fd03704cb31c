"""The stored dashboard is the one in the code, and keeps the rules of Grafana's dashboard linter."""

import json
import re
from typing import Any

import pytest

from grafana.dashboard import render
from tests.grafana.files import GRAFANA, expressions, names_in, panels, registered_names

every_panel = pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
every_expression = pytest.mark.parametrize("expr", [expr for _, expr in expressions()])


def test_stored_dashboard_is_up_to_date() -> None:
    assert (GRAFANA / "dashboard.json").read_text() == render(), "run: python -m grafana.dashboard"


@every_panel
def test_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]


@every_panel
def test_panel_takes_the_chosen_data_source(panel: dict[str, Any]) -> None:
    sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)


@every_expression
def test_every_selector_can_be_narrowed(expr: str) -> None:
    selectors = re.findall(r"latentcast_\w+(\{.*?\})?", expr)
    assert selectors
    assert all('job=~"$job"' in selector and 'instance=~"$instance"' in selector for selector in selectors)


@every_expression
def test_rates_take_the_rate_interval(expr: str) -> None:
    assert all(window == "$__rate_interval" for window in re.findall(r"\[(.*?)\]", expr))


@every_expression
def test_counters_are_rated_before_they_are_summed(expr: str) -> None:
    counters = re.findall(r"(\w+\()latentcast_\w+(?:_total|_bucket|_sum|_count)\{", expr)
    assert all(function in ("rate(", "increase(") for function in counters)
    assert not re.search(r"(rate|increase)\(\s*(sum|avg|min|max|count)\b", expr)


def test_every_metric_named_exists() -> None:
    named = names_in(" ".join(expr for _, expr in expressions()))
    assert named <= registered_names()


def test_panels_are_told_apart() -> None:
    dashboard = json.loads((GRAFANA / "dashboard.json").read_text())
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    titles = [panel["title"] for panel in panels()]
    assert len(set(titles)) == len(titles)


def test_job_instance_and_data_source_can_be_chosen() -> None:
    dashboard = json.loads((GRAFANA / "dashboard.json").read_text())
    assert [variable["name"] for variable in dashboard["templating"]["list"]] == ["datasource", "job", "instance"]
