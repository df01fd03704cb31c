"""The command itself: stages run, stored, and reported."""

import sys
from pathlib import Path

import pytest

from benchmarks.engine.pace import Pace
from benchmarks.fanout import __main__ as command
from benchmarks.fanout.__main__ import STAGES, Stage, make_parser, run_stage
from benchmarks.fanout.processes import FanoutError
from benchmarks.fanout.results import FanoutResults, Result, load
from benchmarks.results import save
from tests.benchmarks.fanout.samples import RESULTS, make_measurement


def test_all_stages_run_by_default() -> None:
    options = make_parser().parse_args([])
    assert options.stage == list(STAGES) == list(RESULTS)
    assert options.streams == 5000


def test_a_stage_is_stored_with_its_machine_and_its_time() -> None:
    def measure(pace: Pace) -> Result:
        assert list(pace.rounds()) == [0]
        return RESULTS["idle"]

    said: list[str] = []
    measurement = run_stage("idle", Stage(measure, seconds=0, rounds=3), None, said.append)
    assert measurement.result is RESULTS["idle"]
    assert measurement.environment.cores >= 1
    assert said == ["idle", "idle, round 1 of up to 3"]


def test_a_run_stores_its_stage_and_keeps_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = tmp_path / "fanout.json"
    save(FanoutResults(measurements=[make_measurement("write"), make_measurement("idle")]), stored)
    monkeypatch.setattr(command, "stages", lambda _: {"idle": Stage(lambda _: RESULTS["idle"], 0, 1)})
    monkeypatch.setattr(sys, "argv", ["fanout", "--stage", "idle", "--json", str(stored)])
    command.main()
    assert "## idle\n" in capsys.readouterr().out
    assert [(each.stage, each.seconds) for each in load(stored)] == [("write", 10.0), ("idle", 0.0)]


def test_report_measures_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(FanoutResults(measurements=[make_measurement(stage) for stage in RESULTS]), tmp_path / "fanout.json")
    monkeypatch.setattr(command, "stages", lambda _: {})
    monkeypatch.setattr(sys, "argv", ["fanout", "--report", str(tmp_path / "fanout.json")])
    command.main()
    assert "## stalled\n" in capsys.readouterr().out


def test_a_process_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Pace) -> Result:
        raise FanoutError("it did not start")

    monkeypatch.setattr(command, "stages", lambda _: {"idle": Stage(fail, 0, 1)})
    monkeypatch.setattr(sys, "argv", ["fanout", "--stage", "idle"])
    with pytest.raises(SystemExit, match="it did not start"):
        command.main()
