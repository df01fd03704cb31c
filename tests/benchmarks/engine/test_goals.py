import pytest

from benchmarks.comparison import Range
from benchmarks.engine.goals import Goal, goals_table


@pytest.mark.parametrize(
    ("goal", "is_met"),
    [
        (Goal("a share", Range(0.8, 0.9, 0.95), at_least=0.9), True),
        (Goal("a share", Range(0.8, 0.89, 0.95), at_least=0.9), False),
        (Goal("a cost", Range(0.01, 0.03, 0.5), at_most=0.03), True),
        (Goal("a cost", Range(0.01, 0.031, 0.5), at_most=0.03), False),
        (Goal("only told", Range(1, 2, 3)), None),
        (Goal("for other hardware", Range(1, 1, 1), at_least=1.9, only_with="AMX"), None),
    ],
)
def test_a_goal_is_met_by_the_median(goal: Goal, is_met: bool | None) -> None:
    assert goal.is_met is is_met


def test_table_tells_measured_goal_and_met() -> None:
    goals = [
        Goal("speed", Range(0.85, 0.92, 0.95), at_least=0.9, unit="%"),
        Goal("waiting", Range.of([1.6]), at_most=1.5),
        Goal("against a loop", Range.of([1.25]), at_least=1.9, only_with="AMX"),
    ]
    assert goals_table(goals).splitlines()[2:] == [
        "| speed | 92 % (85 % to 95 %) | at least 90 % | yes |",
        "| waiting | 1.60x | at most 1.50x | **no** |",
        "| against a loop | 1.25x | at least 1.90x with AMX |  |",
    ]
