"""What depends on the device, tried once: here what a CPU has of it."""

from contextlib import nullcontext

import pytest
import torch

from benchmarks.gpu.lab import Lab
from benchmarks.gpu.stages import smoke
from scheduler.messages import Speedups
from scheduler.sdxl import pictures
from scheduler.sdxl.float8 import what_is_wrong


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_all_that_a_cpu_has_works(lab: Lab) -> None:
    points = smoke.measure(lab, smoke.checks)
    table = cells(smoke.table(lambda _: points))
    cpu = torch.device("cpu")
    expected = dict.fromkeys(smoke.checks(cpu), "yes") | {"float8": "no" if what_is_wrong(cpu) else "yes"}
    assert {name: works for name, works, *_ in table} == expected
    assert ["pictures and previews", "yes", "100 dB to the plain pictures"] in [row[:3] for row in table]


def test_what_does_not_work_says_why_and_the_next_check_follows(lab: Lab) -> None:
    def fail(_: Lab) -> str:
        raise RuntimeError("no such kernel")

    points = smoke.measure(lab, lambda _: {"broken": fail, "sound": lambda _: "as it should"})
    table = cells(smoke.table(lambda _: points))
    assert [row[:3] for row in table] == [
        ["broken", "no", "RuntimeError: no such kernel"],
        ["sound", "yes", "as it should"],
    ]


def test_a_card_has_all_that_a_cpu_has_and_what_only_cuda_has() -> None:
    on_a_card, on_a_cpu = smoke.checks(torch.device("cuda:0")), smoke.checks(torch.device("cpu"))
    assert set(on_a_cpu) < set(on_a_card)
    assert {
        "attention: cudnn",
        "CUDA graphs of all networks",
        "decodes in a stream beside",
        "no step waits for the device",
        "memory of graphs is counted",
    } <= set(on_a_card)


def test_other_pictures_are_a_failure(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = [torch.randint(256, (8, 8, 3), generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    pictures = iter([noise[:1], noise[1:]])
    monkeypatch.setattr(smoke, "run_to_pictures", lambda *_: next(pictures))
    monkeypatch.setattr(smoke, "SIDE", 64)
    with pytest.raises(smoke.CheckError, match="other pictures than the plain ones"):
        smoke.paint(lab, Speedups())


def test_a_wait_inside_a_decode_is_not_missed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the request, and not the step."""
    monkeypatch.setattr(smoke, "_raising_for_waits", nullcontext)
    assert smoke.step_without_waiting(lab, Speedups()) == "4 steps, joined by a request, to its picture"

    def wait(*_: object) -> None:
        raise RuntimeError("called a synchronizing CUDA operation")

    monkeypatch.setattr(pictures, "decode", wait)
    with pytest.raises(smoke.CheckError, match="RuntimeError: called a synchronizing CUDA operation"):
        smoke.step_without_waiting(lab, Speedups())


def test_what_is_refused_is_told(lab: Lab) -> None:
    """As a card's checks are on a CPU."""
    checks = smoke.checks(torch.device("cuda:0"))
    wanted = ("CUDA graphs", "attention: cudnn", "no step waits for the device")
    points = smoke.measure(lab, lambda _: {name: checks[name] for name in wanted})
    assert [point.figures["works"] for point in points] == [[0.0]] * 3
    assert "--cuda-graphs needs a CUDA device" in str(points[0].what["said"])
