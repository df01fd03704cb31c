"""Networks that are ready for a few shapes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scheduler.sdxl.warmed import Call, Warmed


class Recorded:
    """Sums each row of both inputs, and keeps how many rows it was called with."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def __call__(self, first: Tensor, second: Tensor) -> Any:
        self.rows.append(len(first))
        return {"sums": first.sum(1) + second.sum(1)}


def unprepared(call: Call) -> Call:
    return call


def make_warmed(*rows: int, prepare: Callable[[Call], Call] = unprepared) -> tuple[Warmed, Recorded, Recorded]:
    """Ready for so many rows of 3 and 2 numbers; and what runs elsewhere, and there."""
    plain, fast = Recorded(), Recorded()
    warmed = Warmed(plain, fast, prepare)
    for number in rows:
        warmed.warm(torch.zeros(number, 3), torch.zeros(number, 2))
    fast.rows.clear()
    return warmed, plain, fast


def test_rows_are_padded_to_the_next_ready_number_and_cut_again() -> None:
    warmed, plain, fast = make_warmed(4, 2)
    inputs = torch.arange(9.0).reshape(3, 3), torch.ones(3, 2)
    assert warmed(*inputs)["sums"].tolist() == [5, 14, 23]
    assert warmed(*(each[:2] for each in inputs))["sums"].tolist() == [5, 14]
    assert (fast.rows, plain.rows) == ([4, 2], [])


def test_what_an_earlier_call_left_behind_changes_nothing() -> None:
    warmed, _, _ = make_warmed(4)
    warmed(torch.full((4, 3), float("nan")), torch.ones(4, 2))
    assert warmed(torch.ones(1, 3), torch.ones(1, 2))["sums"].tolist() == [5]


def test_more_rows_than_are_ready_run_as_they_are() -> None:
    warmed, plain, fast = make_warmed(2)
    warmed(torch.ones(3, 3), torch.ones(3, 2))
    assert (fast.rows, plain.rows) == ([], [3])


def test_other_shapes_and_dtypes_run_as_they_are() -> None:
    warmed, plain, fast = make_warmed(2)
    warmed(torch.ones(1, 5), torch.ones(1, 2))
    warmed(torch.ones(1, 3, dtype=torch.float64), torch.ones(1, 2))
    assert (fast.rows, plain.rows) == ([], [1, 1])


def test_a_call_is_prepared_once_it_has_run() -> None:
    prepared: list[int] = []
    fast = Recorded()

    def prepare(call: Call) -> Call:
        prepared.append(len(fast.rows))
        return call

    Warmed(Recorded(), fast, prepare).warm(torch.zeros(2, 3), torch.zeros(2, 2))
    assert prepared == [1]
