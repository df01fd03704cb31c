from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from benchmarks.fanout.plots import draw_costs, draw_delays, draw_memory, plot_all, reference
from benchmarks.fanout.stages.cost import Peers
from benchmarks.fanout.stages.idle import Idle
from benchmarks.fanout.stages.streams import Streams
from tests.benchmarks.fanout.samples import RESULTS, make_measurement


def points_of(line: Line2D) -> list[list[float]]:
    points: list[list[float]] = np.asarray(line.get_xydata()).tolist()
    return points


def test_all_is_drawn_into_one_file(tmp_path: Path) -> None:
    (path,) = plot_all([make_measurement(stage) for stage in RESULTS], tmp_path / "docs")
    assert path == tmp_path / "docs" / "fanout.png"
    with PIL.Image.open(path) as image:
        assert image.size == (3000, 600)  # four panels


def test_nothing_is_drawn_of_nothing(tmp_path: Path) -> None:
    assert plot_all([make_measurement("write")], tmp_path) == []
    assert reference([make_measurement("write")]) == ""


def test_a_page_shows_the_file_that_is_drawn(tmp_path: Path) -> None:
    measurements = [make_measurement("idle")]
    (path,) = plot_all(measurements, tmp_path)
    assert reference(measurements) == f"![The fan-out: idle]({path.name})"


def test_costs_are_in_microseconds() -> None:
    costs = RESULTS["peers"]
    assert isinstance(costs, Peers)
    axes = Figure().subplots()
    draw_costs(axes, costs)
    heights = [bar.get_height() for bar in axes.patches if isinstance(bar, Rectangle)]
    assert heights == pytest.approx([10, 11, 120, 130])


def test_delays_are_in_milliseconds() -> None:
    streams = RESULTS["streams"]
    assert isinstance(streams, Streams)
    axes = Figure().subplots()
    draw_delays(axes, streams)
    (line,) = axes.lines
    assert points_of(line)[50] == pytest.approx([51.0, 0.5])


def test_memory_is_in_mib() -> None:
    idle = RESULTS["idle"]
    assert isinstance(idle, Idle)
    axes = Figure().subplots()
    draw_memory(axes, idle)
    assert [points_of(line)[0] for line in axes.lines] == [[0, 1000 / 1024]] * 2
