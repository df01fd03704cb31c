"""Plots and tables from stored results, on any machine."""

from pathlib import Path

from benchmarks.document import blocks, draw, fill
from benchmarks.environment import ROOT
from benchmarks.gpu.limits import anchors_table, limits_table
from benchmarks.gpu.plan import STAGES, report
from benchmarks.gpu.plots import PLOTS, plot_all
from benchmarks.gpu.store import GpuResults
from tests.benchmarks.gpu.samples import POINTS, make_results

README = (ROOT / "benchmarks" / "README.md").read_text()


def test_each_plot_is_drawn_where_its_stage_was_measured(tmp_path: Path) -> None:
    assert plot_all(make_results(), tmp_path) == [tmp_path / f"gpu-{name}.png" for name in PLOTS]
    assert all((tmp_path / f"gpu-{name}.png").read_bytes().startswith(b"\x89PNG") for name in PLOTS)
    assert plot_all(GpuResults(), tmp_path) == []


def test_a_report_names_the_card() -> None:
    text = report(make_results())
    assert [line for line in text.splitlines() if line.startswith("## ")] == [f"## {name}" for name in POINTS]
    assert text.count("Some GPU, 140 GiB, 132 multiprocessors, driver 580.1, power limit 700.00 W") == len(POINTS)


def test_documents_have_a_block_for_each_stage_that_was_measured(tmp_path: Path) -> None:
    results = make_results()
    assert set(blocks([results])) == {f"gpu {name}" for name in POINTS}
    assert tmp_path / "gpu-curve.png" in draw({tmp_path / "gpu.json": results}, tmp_path, "")


def test_the_readme_has_a_place_for_every_stage() -> None:
    for name in STAGES:
        assert f"<!-- gpu {name} -->" in README
        assert f"| `{name}` |" in README
    filled = fill(README, blocks([make_results()]))
    assert "| 1024x1024 | 8 | compile | 84.0 (80.0 to 88.0) |" in filled


def test_the_readme_states_the_anchors_and_the_limits() -> None:
    assert anchors_table() in README
    assert limits_table() in README
