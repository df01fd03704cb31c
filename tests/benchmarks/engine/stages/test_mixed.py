from collections import Counter
from itertools import islice

import pytest

from benchmarks.engine.pace import Pace
from benchmarks.engine.stages.mixed import LEAST, SHARES, Mixed, SizeFigures, deck, measure, sized
from benchmarks.engine.workbench import Workbench


def make_size(width: int, latencies: list[float], row_steps: int = 100, single: float = 0.01) -> SizeFigures:
    return SizeFigures(
        width=width, height=width, latencies=latencies, row_steps=row_steps, single=[single, single, single]
    )


def make_result(*sizes: SizeFigures, seconds: float = 10.0) -> Mixed:
    return Mixed(clients=48, num_steps=8, mean_rows=20.0, seconds=seconds, sizes=list(sizes))


def test_the_rarest_is_held_against_the_commonest() -> None:
    goal, _ = make_result(make_size(256, [1.0, 2.0]), make_size(192, [9.0]), make_size(320, [4.0])).goals
    assert goal.measured.median == pytest.approx(4.0 / 1.99)
    assert not goal.is_met


def test_throughput_is_held_against_full_batches_of_one_size() -> None:
    result = make_result(make_size(256, [1.0], row_steps=500), make_size(320, [1.0], row_steps=200, single=0.02))
    assert result.efficiency == pytest.approx((500 * 0.01 + 200 * 0.02) / 10)
    assert result.goals[1].is_met


def test_every_deck_holds_each_size_as_often_as_it_should() -> None:
    drawn = list(islice(deck(seed=0), 50))
    assert Counter(drawn[:25]) == Counter(drawn[25:]) == dict(enumerate(SHARES.values()))
    assert drawn[:25] != drawn[25:]


def test_any_least_number_in_a_row_holds_each_size() -> None:
    drawn = list(islice(deck(seed=1), 25 + LEAST))
    assert all(set(drawn[start : start + LEAST]) == set(range(len(SHARES))) for start in range(25))


def test_sizes_are_parts_of_the_models_own(bench: Workbench) -> None:
    sizes = [sized(bench, *parts, num_steps=8) for parts in SHARES]
    own = bench.size
    assert (sizes[0].width, sizes[0].height) == (own, own)
    assert (sizes[-1].width, sizes[-1].height) == (own * 5 // 4, own * 5 // 4)
    assert len({params.pixels for params in sizes}) == len(SHARES)


def test_every_request_that_was_sent_under_load_is_counted(bench: Workbench) -> None:
    result = measure(bench, Pace(seconds=1e9, most=1), num_steps=2, count=LEAST + 10, crowd=2)
    counted = sum(len(size.latencies) for size in result.sizes)
    assert LEAST + 10 <= counted < LEAST + 10 + result.clients
    assert all(size.latencies and size.row_steps for size in result.sizes)
    assert all(len(size.single) == 2 for size in result.sizes)
    assert result.seconds > 0
    assert 0 < result.mean_rows <= 8


def test_without_time_the_least_is_measured(bench: Workbench) -> None:
    result = measure(bench, Pace(seconds=0, most=1), num_steps=1, count=10_000, crowd=1)
    assert LEAST <= sum(len(size.latencies) for size in result.sizes) < LEAST + result.clients


def test_table_goes_from_the_commonest_to_the_rarest() -> None:
    lines = make_result(make_size(256, [1.0, 3.0]), make_size(320, [5.0])).table().splitlines()
    assert lines[2:4] == ["| 256x256 | 2 | 2.00 | 2.98 |", "| 320x320 | 1 | 5.00 | 5.00 |"]
