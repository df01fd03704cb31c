"""The command itself: stages run, stored, and reported."""

import sys
from pathlib import Path

import pytest

from benchmarks.engine import __main__ as command
from benchmarks.engine.__main__ import STAGES, make_parser, report, run_stage
from benchmarks.engine.results import EngineResults, load
from benchmarks.engine.workbench import Workbench
from benchmarks.results import save
from tests.benchmarks.engine.results import RESULTS, all_measurements, make_measurement
from tests.models import save_tiny_sdxl


def test_all_stages_run_in_bfloat16_by_default() -> None:
    options = make_parser().parse_args([])
    assert options.stage == list(STAGES) == list(RESULTS)
    assert options.dtype == "bfloat16"


def test_a_stage_is_stored_with_its_machine_and_its_time(bench: Workbench) -> None:
    measurement = run_stage("samplers", bench, seconds=1e-9, say=lambda _: None)
    assert (measurement.stage, measurement.model, measurement.dtype) == ("samplers", "tiny-sdxl", "float32")
    assert measurement.environment.cores >= 1
    assert measurement.seconds >= 0


def test_report_has_a_table_of_goals_for_each_dtype_and_one_for_each_stage() -> None:
    text = report(all_measurements("bfloat16", "float32"))
    assert text.count("| figure | measured | goal | met |") == 2
    for stage in STAGES:
        assert text.count(f"## {stage}\n") == 2
    assert "| images/s, of the bound | 94.9 % (94.7 % to 95 %) | at least 90 % | yes |" in text


def test_a_run_stores_its_stage_and_keeps_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = tmp_path / "engine.json"
    kept = make_measurement("mixed")
    save(EngineResults(measurements=[kept, make_measurement("samplers", "float32")]), stored)
    model = save_tiny_sdxl(tmp_path / "tiny-sdxl")
    arguments = ["--stage", "samplers", "--dtype", "float32", "--seconds", "1e-9", "--max-rows", "4"]
    monkeypatch.setattr(sys, "argv", ["engine", *arguments, "--model", str(model), "--json", str(stored)])
    command.main()
    assert "tiny-sdxl, float32:" in capsys.readouterr().out
    assert [(each.stage, each.model) for each in load(stored)] == [
        ("mixed", "postcard"),
        ("samplers", "postcard"),
        ("samplers", "tiny-sdxl"),
    ]
    assert load(stored)[0] == kept


def test_report_measures_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(EngineResults(measurements=all_measurements("bfloat16")), tmp_path / "engine.json")
    arguments = ["--report", str(tmp_path / "engine.json"), "--plots", str(tmp_path / "docs")]
    monkeypatch.setattr(sys, "argv", ["engine", *arguments])
    command.main()
    assert "## curve\n" in capsys.readouterr().out
    assert len(list((tmp_path / "docs").glob("engine-*.png"))) == 5


def test_a_model_that_cannot_be_loaded_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["engine", "--model", str(tmp_path)])
    with pytest.raises(SystemExit, match=str(tmp_path)):
        command.main()
