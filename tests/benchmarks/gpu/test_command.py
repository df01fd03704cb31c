"""`python -m benchmarks.gpu`."""

import argparse
import dataclasses
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as command
from benchmarks.gpu.rungs import RUNGS
from benchmarks.gpu.scale import SMALL
from benchmarks.gpu.store import Entry, GpuResults, Point
from benchmarks.gpu.store import load as load_results
from benchmarks.results import save
from scheduler.messages import Speedups
from tests.benchmarks.gpu.samples import load, make_results, step

CHANNELS_LAST = '{"channels_last": true}'


def test_a_stage_is_measured_once_and_again_if_told(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "SMALL", dataclasses.replace(SMALL, sizes=(64,), rows=(1, 2)))
    results, output = tmp_path / "gpu.json", tmp_path / "out"
    arguments = ["--stage", "memory", "--model", str(model_folder), "--device", "cpu", "--results", str(results)]
    command.main([*arguments, "--output", str(output)])
    assert "## memory" in capsys.readouterr().out
    (first,) = load_results(output / "gpu.json").entries
    assert (first.task, first.subject.device) == ("64", "cpu, small")
    command.main(arguments)
    assert load_results(results).entries == [first]
    command.main([*arguments, "--again"])
    (again,) = load_results(results).entries
    assert (again.attempts, again.run) == (1, 1)


def test_stored_results_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(make_results(), tmp_path / "gpu.json")
    command.main(["--report", str(tmp_path / "gpu.json"), "--plots", str(tmp_path)])
    printed = capsys.readouterr()
    assert "## steps" in printed.out
    assert "gpu-curve.png" in printed.err


def make_session(path: Path, *flags: str) -> command.Session:
    return command.Session(command.make_parser().parse_args(["--device", "cpu", "--results", str(path), *flags]))


def measured(session: command.Session, stage: str, points: list[Point], speedups: str = "") -> Entry:
    return Entry(
        stage=stage, task=stage, subject=session.subject(speedups), run=0, attempts=1, seconds=1.0, points=points
    )


def test_speedups_are_those_of_the_fastest_rung_that_keeps_the_picture(tmp_path: Path) -> None:
    session = make_session(tmp_path / "gpu.json")
    assert session.speedups("serve") == Speedups()
    seconds = {"eager": 0.03, "fused QKV": 0.02, "float8": 0.01}
    steps = measured(session, "steps", [step(*SMALL.first[0], rung, each) for rung, each in seconds.items()])
    save(GpuResults(entries=[steps]), tmp_path / "gpu.json")
    assert session.speedups("serve") == RUNGS["fused QKV"].speedups
    assert session.speedups("steps") == Speedups()


def test_speedups_stay_those_that_were_measured_with_first(tmp_path: Path) -> None:
    session = make_session(tmp_path / "gpu.json")
    steps = measured(session, "steps", [step(*SMALL.first[0], "fused QKV", 0.02)])
    plain, serve = measured(session, "previews", [load(0.5)]), measured(session, "serve", [load(0.5)], CHANNELS_LAST)
    save(GpuResults(entries=[steps, plain, serve]), tmp_path / "gpu.json")
    assert session.speedups("previews") == Speedups(channels_last=True)
    told = make_session(tmp_path / "gpu.json", "--speedups", "{}")
    assert told.speedups("previews") == Speedups()


def test_speedups_are_told_as_json() -> None:
    wanted = command.speedups_of('{"compile": "default", "channels_last": true}')
    assert wanted == Speedups(compile="default", channels_last=True)
    assert command.changed(wanted) == '{"channels_last": true, "compile": "default"}'
    assert command.changed(Speedups()) == ""
    with pytest.raises(argparse.ArgumentTypeError, match="compile"):
        command.speedups_of('{"compile": "sometimes"}')
