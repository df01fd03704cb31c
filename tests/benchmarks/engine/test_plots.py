from pathlib import Path

from benchmarks.engine.plots import plot_all
from tests.benchmarks.engine.results import all_measurements, make_measurement


def test_each_kind_has_a_plot(tmp_path: Path) -> None:
    paths = plot_all(all_measurements("bfloat16", "float32"), tmp_path / "docs")
    assert {path.name for path in paths} == {
        "engine-curve.png",
        "engine-saturation.png",
        "engine-profile.png",
        "engine-previews.png",
        "engine-mixed.png",
    }
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_what_was_not_measured_is_not_drawn(tmp_path: Path) -> None:
    assert [path.name for path in plot_all([make_measurement("mixed")], tmp_path)] == ["engine-mixed.png"]
    assert plot_all([make_measurement("joiner")], tmp_path) == []
