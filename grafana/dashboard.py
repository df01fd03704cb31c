"""The Grafana dashboard as code: `python -m grafana.dashboard` writes `dashboard.json` beside this file."""

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path

from grafana_foundation_sdk.builders import heatmap, stat, timeseries
from grafana_foundation_sdk.builders.common import StackingConfig
from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, QueryVariable, Row
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import StackingMode
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef, VariableRefresh
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.panels import SECTIONS, Panel, Style

OUTPUT = Path(__file__).with_name("dashboard.json")
DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
STAT_HEIGHT, GRAPH_HEIGHT = 4, 8

PanelBuilder = stat.Panel | timeseries.Panel | heatmap.Panel


def build_dashboard() -> Dashboard:
    dashboard = (
        Dashboard("Latentcast")
        .uid("latentcast")
        .description("Throughput, latency and waste of a service that streams images while they form.")
        .tags(["latentcast"])
        .refresh("10s")
        .time("now-30m", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_label_variable("job", "latentcast_build_info"))
        .with_variable(_label_variable("instance", 'latentcast_build_info{job=~"$job"}'))
    )
    ids = count(1)
    for section in SECTIONS:
        dashboard.with_row(Row(section.title).id(next(ids)))
        for panel in section.panels:
            dashboard.with_panel(build_panel(panel).id(next(ids)))
    return dashboard


def _label_variable(label: str, series: str) -> QueryVariable:
    """A choice among the values that `label` has on `series`."""
    return (
        QueryVariable(label)
        .label(label.capitalize())
        .datasource(DATASOURCE)
        .query(f"label_values({series}, {label})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".+")
    )


def build_panel(panel: Panel) -> PanelBuilder:
    builders: dict[Style, Callable[[], PanelBuilder]] = {
        "stat": stat.Panel,
        "graph": lambda: timeseries.Panel().min(0).fill_opacity(8),
        "stacked": lambda: timeseries.Panel().min(0).fill_opacity(30).stacking(_stacked()),
        "heatmap": heatmap.Panel,
    }
    builder = (
        builders[panel.style]()
        .title(panel.title)
        .description(panel.description)
        .unit(panel.unit)
        .datasource(DATASOURCE)
        .span(panel.width)
        .height(STAT_HEIGHT if panel.style == "stat" else GRAPH_HEIGHT)
    )
    for number, query in enumerate(panel.queries):
        target = Dataquery().ref_id(chr(ord("A") + number)).datasource(DATASOURCE)
        target = target.expr(query.expr).legend_format(query.legend).range()
        builder.with_target(target.format(PromQueryFormat.HEATMAP) if panel.style == "heatmap" else target)
    return builder


def _stacked() -> StackingConfig:
    return StackingConfig().mode(StackingMode.NORMAL)


def render() -> str:
    """The dashboard as the JSON that Grafana imports."""
    return json.dumps(build_dashboard().build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    OUTPUT.write_text(render())
