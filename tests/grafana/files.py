"""The files under test, and what they name."""

import json
import re
from pathlib import Path
from typing import Any

from service.metrics import Metrics

GRAFANA = Path(__file__).resolve().parents[2] / "grafana"
SAMPLES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def panels() -> list[dict[str, Any]]:
    """The panels of the stored dashboard, rows left out."""
    dashboard = json.loads((GRAFANA / "dashboard.json").read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions() -> list[tuple[str, str]]:
    """Each panel's title with each of its PromQL expressions."""
    return [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]


def names_in(text: str) -> set[str]:
    """The names of the service's series in PromQL; recorded ones, such as job:latentcast_x:y, are not among them."""
    return set(re.findall(r"(?<![:\w])latentcast_\w+", text))


def registered_names() -> set[str]:
    """The names of all series that the service can export."""
    families = Metrics().registry.collect()
    return {family.name + suffix for family in families for suffix in SAMPLES[family.type]}
