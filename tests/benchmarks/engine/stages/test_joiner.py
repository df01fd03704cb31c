import pytest

from benchmarks.engine.pace import Pace
from benchmarks.engine.stages.joiner import Joiner, JoinerRound, measure
from benchmarks.engine.workbench import Workbench
from tests.benchmarks.engine.conftest import MAX_ROWS


def test_the_ratio_is_within_rounds() -> None:
    rounds = [
        JoinerRound(joining=3.0, among_its_kind=2.0, into_step=0.1),
        JoinerRound(joining=4.8, among_its_kind=3.0, into_step=0.7),
    ]
    (goal,) = Joiner(num_steps=4, others_steps=40, rows=32, rounds=rounds).goals
    assert goal.measured.median == pytest.approx(1.55)
    assert goal.measured.min == 1.5
    assert not goal.is_met


def test_it_arrives_at_another_moment_of_a_step_in_every_round(bench: Workbench) -> None:
    result = measure(bench, Pace(seconds=1e9, most=3), num_steps=2, others_steps=30)
    assert [round(each.into_step, 3) for each in result.rounds] == [0.1, 0.718, 0.336]
    assert all(each.joining > 0 and each.among_its_kind > 0 for each in result.rounds)
    assert result.rows == MAX_ROWS
    assert bench.num_waiting == 0
