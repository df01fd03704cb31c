import pytest

from benchmarks.engine.pace import Pace
from benchmarks.engine.stages.previews import EVERY_FIFTH, Previews, kinds, measure
from benchmarks.engine.workbench import Workbench

RESULT = Previews(
    count=16,
    num_steps=10,
    seconds={"none": [8.0, 9.0], EVERY_FIFTH: [10.0, 10.0], "every step, 64 pixels": [16.0, 9.0]},
)


def test_cost_is_the_throughput_that_is_lost_within_a_round() -> None:
    assert RESULT.cost(EVERY_FIFTH) == pytest.approx([0.2, 0.1])
    assert RESULT.cost("none") == [0.0, 0.0]


def test_the_goal_is_for_full_size_at_every_fifth_step() -> None:
    (goal,) = RESULT.goals
    assert goal.measured.median == pytest.approx(0.15)
    assert not goal.is_met


def test_table_tells_speed_and_cost() -> None:
    assert RESULT.table().splitlines()[-1] == "| every step, 64 pixels | 1.39 | 25.0% (0.0% to 50.0%) |"


def test_every_step_comes_in_three_sizes() -> None:
    assert [options.get("preview_size") for options in kinds(256).values()] == [None, 256, 256, 128, 64]


def test_all_kinds_are_measured_in_each_round(bench: Workbench) -> None:
    result = measure(bench, Pace(seconds=1e9, most=2), num_steps=2)
    assert list(result.seconds) == list(kinds(bench.size))
    assert all(len(times) == 2 and min(times) > 0 for times in result.seconds.values())
    assert result.count == bench.capacity(bench.params())
