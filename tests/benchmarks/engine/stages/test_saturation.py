import pytest

from benchmarks.engine.pace import Pace
from benchmarks.engine.parts import PartTimes, bound
from benchmarks.engine.stages.saturation import Saturation, SaturationRound, measure
from benchmarks.engine.workbench import Workbench
from tests.benchmarks.engine.conftest import MAX_ROWS

PARTS = PartTimes(
    rows=32, unet=0.5, preview_decode=0.01, vae_decode=0.1, preview_encode=0.001, image_encode=0.002, cores=2
)


def make_round(engine: float, bound: float = 2.0, pipeline: float = 1.0) -> SaturationRound:
    return SaturationRound(engine=engine, bound=bound, pipeline=pipeline, mean_rows=32, least_waiting=1, parts=PARTS)


def make_result(*rounds: SaturationRound, has_amx: bool = False) -> Saturation:
    return Saturation(size=256, num_steps=20, preview_every=5, max_rows=32, has_amx=has_amx, rounds=list(rounds))


def test_goals_compare_within_rounds() -> None:
    of_bound, of_pipeline = make_result(make_round(1.8), make_round(1.0, bound=1.0, pipeline=0.5)).goals
    assert (of_bound.measured.min, of_bound.measured.max) == (0.9, 1.0)
    assert of_bound.is_met
    assert (of_pipeline.measured.min, of_pipeline.measured.max) == (1.8, 2.0)


@pytest.mark.parametrize(("has_amx", "is_met"), [(True, False), (False, None)])
def test_the_pipeline_is_a_bar_only_for_hardware_that_it_was_set_for(has_amx: bool, is_met: bool | None) -> None:
    assert make_result(make_round(1.8), has_amx=has_amx).goals[1].is_met is is_met


def test_table_has_the_three_speeds() -> None:
    lines = make_result(make_round(1.8), make_round(1.9), make_round(1.85)).table().splitlines()
    assert lines[2] == "| engine | 1.85 | 1.80 | 1.90 |"
    assert "a UNet call of 32 rows 500.0 ms" in lines[-1]


def test_measured_with_a_full_batch_of_what_the_bound_is_for(bench: Workbench) -> None:
    pace = Pace(seconds=1e9, most=2)
    result = measure(bench, pace, num_steps=3, preview_every=2, repeats=1, pipeline_images=1)
    assert len(result.rounds) == 2
    for each in result.rounds:
        assert each.mean_rows == each.parts.rows == result.max_rows == MAX_ROWS
        assert each.least_waiting >= 1
        assert each.engine > 0
        assert each.pipeline > 0
        assert each.bound == bound(each.parts, bench.params(num_steps=3, preview_every=2))
    assert not result.has_amx  # it ran in float32
