from typing import Any

import pytest

from benchmarks.engine.pace import Pace
from benchmarks.engine.stages.overhead import Overhead, measure, profile
from benchmarks.engine.workbench import Turn, Workbench
from scheduler.messages import StepStats
from tests.benchmarks.engine.conftest import MAX_ROWS


def make_turn(seconds: float, forward: float, duration: float, **stages: float) -> Turn:
    numbers: dict[str, Any] = dict.fromkeys(StepStats.__struct_fields__, 0)
    return Turn(seconds, forward, StepStats(**(numbers | {"duration": duration, "stages": stages})))


def test_a_profile_accounts_for_the_whole_turn() -> None:
    turns = [
        make_turn(10.0, 6.0, 9.0, unet=6.5, sampler=1.0, preview_decode=1.0, image_encode=5.0),
        make_turn(8.0, 6.0, 7.5, unet=6.5, sampler=1.0),
    ]
    assert profile(turns) == pytest.approx(
        {
            "unet": 6.0,
            "gather and scatter": 0.5,
            "sampler": 1.0,
            "preview_decode": 0.5,
            "rest of the engine's step": (0.5 + 0.0) / 2,
            "loop and scheduler": (1.0 + 0.5) / 2,
        }
    )
    assert sum(profile(turns).values()) == pytest.approx(9.0)


def test_the_goal_is_for_the_median_round() -> None:
    (goal,) = Overhead(rows=32, shares=[0.01, 0.02, 0.5], profile={"unet": 1.0}).goals
    assert goal.measured.median == 0.02
    assert goal.is_met


def test_measured_in_quiet_steps_at_the_cap(bench: Workbench) -> None:
    result = measure(bench, Pace(seconds=1e9, most=2), num_steps=2, quiet_steps=2, preview_every=1)
    assert result.rows == MAX_ROWS
    assert len(result.shares) == 2
    assert all(0 < share < 1 for share in result.shares)
    assert {"unet", "sampler", "preview_decode", "vae_decode", "loop and scheduler"} <= set(result.profile)
    assert all(seconds >= 0 for seconds in result.profile.values())


def test_table_has_each_stage_and_all() -> None:
    table = Overhead(rows=32, shares=[0.01], profile={"unet": 0.3, "sampler": 0.1}).table().splitlines()
    assert table[2:] == ["| unet | 300.00 | 75.0% |", "| sampler | 100.00 | 25.0% |", "| all | 400.00 | 100.0% |"]
