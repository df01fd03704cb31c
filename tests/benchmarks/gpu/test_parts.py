"""The networks besides the UNet, made ready by themselves."""

import dataclasses
from functools import partial

import pytest
import torch

from benchmarks.gpu.lab import Lab
from benchmarks.gpu.stages import parts
from benchmarks.gpu.store import Point
from tests.benchmarks.gpu.conftest import TINY


@pytest.fixture
def compiling(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """On a scale that has the compiler, of which PyTorch only traces."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    monkeypatch.setattr(lab, "scale", dataclasses.replace(TINY, rungs=(*TINY.rungs, "compile")))
    return lab


def by_kind(points: list[Point]) -> dict[tuple[str, str], Point]:
    return {(str(point.what["part"]), str(point.what["kind"])): point for point in points}


def test_each_part_is_measured_plain_and_what_cannot_be_had_says_why(lab: Lab) -> None:
    points = by_kind([point for task in parts.tasks(lab.scale) for point in task.measure(lab)])
    plain = {name for name, kind in points if kind == "plain"}
    assert plain == {
        "4 previews of 64 pixels",
        "16 previews of 64 pixels",
        "a picture of 64 pixels",
        "2 texts",
        "8 texts",
    }
    failed = {name: point.what["error"] for (name, kind), point in points.items() if kind == "CUDA graphs"}
    assert set(failed) == {"previews 64", "pictures 64", "texts"}
    assert "previews 64 | CUDA graphs | RuntimeError" in parts.table(lambda _: list(points.values()))


@pytest.mark.parametrize("task", ["previews 64", "pictures 64"])
def test_what_is_compiled_gives_the_same(compiling: Lab, task: str) -> None:
    (measure,) = (each.measure for each in parts.tasks(compiling.scale) if each.name == task)
    compiled = [point for point in measure(compiling) if point.what["kind"] == "compiled" and point.figures]
    assert len(compiled) == {"previews 64": 2, "pictures 64": 1}[task]
    for point in compiled:
        assert point.figures["error"][0] < 1e-3
        assert len(point.figures["ratio"]) == len(point.figures["seconds"]) == compiling.scale.rounds
    torch.compiler.reset()


def test_a_gpu_measures_every_kind(lab: Lab) -> None:
    assert parts.kinds(lab.scale) == ["plain", "CUDA graphs"]
    assert parts.kinds(dataclasses.replace(lab.scale, rungs=("compile",))) == list(parts.KINDS)
