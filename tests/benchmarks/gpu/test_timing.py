"""How often work is called for a figure, and in which order."""

import torch

from benchmarks.gpu.timing import MOST_CALLS, interleaved, seconds_a_call, warmed_calls

CPU = torch.device("cpu")


def test_work_is_called_as_often_as_told() -> None:
    calls: list[str] = []
    assert seconds_a_call(lambda: calls.append("a"), 3, CPU) >= 0
    assert calls == ["a"] * 3


def test_quick_work_is_called_often_but_not_for_ever() -> None:
    assert warmed_calls(lambda: None, CPU, least_seconds=10.0) == MOST_CALLS
    assert warmed_calls(lambda: None, CPU, least_seconds=0.0) == 1


def test_works_take_turns_and_every_second_round_is_backwards() -> None:
    calls: list[str] = []
    works = {name: lambda name=name: calls.append(name) for name in ("a", "b")}
    seconds = interleaved(works, 3, CPU, least_seconds=0.0)
    assert "".join(calls) == "aaa" + "bbb" + "ab" + "ba" + "ab"  # each is warmed up by three calls
    assert [len(each) for each in seconds.values()] == [3, 3]
