import pytest

from benchmarks.engine.pace import Pace
from benchmarks.engine.stages.samplers import Samplers, SamplerTime, measure
from benchmarks.engine.workbench import Workbench
from scheduler.request import SAMPLERS

SLOW = SamplerTime(request=0.001, unet=0.4, batch_size=16)
FAST = SamplerTime(request=0.0001, unet=0.4, batch_size=16)


def test_share_is_of_the_whole_batch() -> None:
    assert SLOW.share == pytest.approx(0.04)


def test_the_goal_is_for_the_slowest() -> None:
    (goal,) = Samplers(times={"euler": [FAST, FAST], "unipc": [FAST, SLOW, SLOW]}).goals
    assert "unipc" in goal.what
    assert goal.measured.median == pytest.approx(0.04)
    assert not goal.is_met


def test_table_has_a_row_for_each_sampler() -> None:
    assert Samplers(times={"euler": [FAST]}).table().splitlines()[-1] == "| `euler` | 0.100 | 400.0 | 0.40% |"


def test_each_sampler_has_the_batch_to_itself_in_every_round(bench: Workbench) -> None:
    result = measure(bench, Pace(seconds=1e9, most=2), steps=2)
    assert set(result.times) == set(SAMPLERS)
    for times in result.times.values():
        assert len(times) == 2
        assert all(each.request > 0 and each.unet > 0 for each in times)
        assert {each.batch_size for each in times} == {bench.capacity(bench.params())}
