"""`python -m benchmarks.gpu`."""

import argparse
import dataclasses
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as command
from benchmarks.gpu.scale import SMALL
from benchmarks.gpu.store import load
from benchmarks.results import save
from scheduler.messages import Speedups
from tests.benchmarks.gpu.samples import make_results


def test_a_stage_is_measured_once_and_again_if_told(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "SMALL", dataclasses.replace(SMALL, sizes=(64,), rows=(1, 2)))
    results, output = tmp_path / "gpu.json", tmp_path / "out"
    arguments = ["--stage", "memory", "--model", str(model_folder), "--device", "cpu", "--results", str(results)]
    command.main([*arguments, "--output", str(output)])
    assert "## memory" in capsys.readouterr().out
    (first,) = load(output / "gpu.json").entries
    assert (first.task, first.subject.device) == ("64", "cpu, small")
    command.main(arguments)
    assert load(results).entries == [first]
    command.main([*arguments, "--again"])
    (again,) = load(results).entries
    assert (again.attempts, again.run) == (1, 1)


def test_stored_results_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(make_results(), tmp_path / "gpu.json")
    command.main(["--report", str(tmp_path / "gpu.json"), "--plots", str(tmp_path)])
    printed = capsys.readouterr()
    assert "## steps" in printed.out
    assert "gpu-curve.png" in printed.err


def test_speedups_are_told_as_json() -> None:
    wanted = command.speedups_of('{"compile": "default", "channels_last": true}')
    assert wanted == Speedups(compile="default", channels_last=True)
    assert command.changed(wanted) == '{"channels_last": true, "compile": "default"}'
    assert command.changed(Speedups()) == ""
    with pytest.raises(argparse.ArgumentTypeError, match="compile"):
        command.speedups_of('{"compile": "sometimes"}')
