from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import islice

import pytest

from benchmarks.engine.pace import Pace
from benchmarks.engine.stages.mixed import LEAST, SHARES, Load, Mixed, MixedRound, SizeFigures, deck, measure, sized
from benchmarks.engine.wave import run_wave
from benchmarks.engine.workbench import Workbench, open_beside
from tests.benchmarks.engine.conftest import MAX_ROWS


def make_size(width: int, latencies: list[float]) -> SizeFigures:
    return SizeFigures(width=width, height=width, latencies=latencies)


def make_round(**changes: object) -> MixedRound:
    """Of two sizes: as fast as batches of one size."""
    fields = {"seconds": 10.0, "row_steps": [600, 200], "single": [0.01, 0.02]} | changes
    return MixedRound(**fields)  # type: ignore[arg-type]


def make_result(*sizes: SizeFigures, rounds: Sequence[MixedRound] = (make_round(),)) -> Mixed:
    return Mixed(clients=48, num_steps=8, mean_rows=20.0, sizes=list(sizes), rounds=list(rounds))


def test_the_rarest_is_held_against_the_commonest() -> None:
    goal, _ = make_result(make_size(256, [1.0, 2.0]), make_size(192, [9.0]), make_size(320, [4.0])).goals
    assert goal.measured.median == pytest.approx(4.0 / 1.99)
    assert not goal.is_met


def test_throughput_is_held_against_full_batches_of_one_size() -> None:
    rounds = [make_round(), make_round(row_steps=[500, 200]), make_round(single=[0.005, 0.01])]
    assert [each.efficiency for each in rounds] == pytest.approx([1.0, 0.9, 0.5])
    measured = make_result(make_size(256, [1.0]), make_size(320, [1.0]), rounds=rounds).goals[1].measured
    assert (measured.min, measured.median, measured.max) == pytest.approx((0.5, 0.9, 1.0))


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


def test_mixture_and_single_sizes_take_turns(bench: Workbench) -> None:
    result = measure(bench, Pace(seconds=1e9, most=2), num_steps=2, crowd=2)
    assert result.clients == 2 * MAX_ROWS // 2
    assert 0 < result.mean_rows <= MAX_ROWS
    assert len(result.rounds) == 2
    for each in result.rounds:
        assert each.seconds > 0
        assert sum(each.row_steps) > 0
        assert len(each.row_steps) == len(each.single) == len(SHARES)


def test_without_time_each_size_is_still_measured(bench: Workbench) -> None:
    result = measure(bench, Pace(seconds=0, most=9), num_steps=1, crowd=1)
    assert len(result.rounds) == 1
    assert all(size.latencies for size in result.sizes)
    assert sum(len(size.latencies) for size in result.sizes) >= LEAST


def test_its_clock_stands_still_while_others_use_the_engine(bench: Workbench) -> None:
    load = Load(bench, [sized(bench, Fraction(1), Fraction(1), num_steps=1)] * len(SHARES), clients=2)
    load.run(num_sent=1)
    before = load.seconds
    with open_beside(bench) as alone:
        run_wave(alone, alone.params(num_steps=4), count=2)
    assert load.seconds == before
    load.run_out()
    assert not bench.is_busy
    assert load.seconds > before


def test_table_goes_from_the_commonest_to_the_rarest() -> None:
    lines = make_result(make_size(256, [1.0, 3.0]), make_size(320, [5.0])).table().splitlines()
    assert lines[2:4] == ["| 256x256 | 2 | 2.00 | 2.98 |", "| 320x320 | 1 | 5.00 | 5.00 |"]
