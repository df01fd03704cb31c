import msgspec
import pytest

from benchmarks.engine.flow import Flow
from benchmarks.engine.parts import PartTimes, bound, mean_seconds, time_parts
from benchmarks.engine.workbench import Workbench
from scheduler.request import GenerateParams
from tests.benchmarks.engine.conftest import MAX_ROWS

PARTS = PartTimes(
    rows=10,
    unet=1.0,
    preview_decode=0.01,
    vae_decode=0.1,
    preview_encode=0.002,
    image_encode=0.004,
    cores=2,
)
PARAMS = GenerateParams(prompt="a boat", width=64, height=64, num_steps=20, preview_every=5)


def test_the_bound_adds_up_the_parts_of_one_picture() -> None:
    # 20 steps of 2 rows, of which 10 take a second; previews after steps 1, 6, 11 and 16; two cores encode.
    seconds = 20 * 2 / 10 + 4 * 0.01 + 0.1 + (4 * 0.002 + 0.004) / 2
    assert bound(PARTS, PARAMS) == pytest.approx(1 / seconds)


def test_without_guidance_and_previews_the_bound_is_higher() -> None:
    params = msgspec.structs.replace(PARAMS, guidance_scale=1.0, preview_every=0)
    assert bound(PARTS, params) == pytest.approx(1 / (20 / 10 + 0.1 + 0.002))


def test_parts_are_those_of_the_batch_that_ran(bench: Workbench) -> None:
    params = bench.params(num_steps=2, preview_every=1)
    Flow(bench, params).run(2)
    parts = time_parts(bench, params, repeats=1)
    assert parts.rows == MAX_ROWS
    assert parts.cores >= 1
    times = (parts.unet, parts.preview_decode, parts.vae_decode, parts.preview_encode, parts.image_encode)
    assert all(seconds > 0 for seconds in times)


def test_there_is_nothing_to_time_before_a_picture(bench: Workbench) -> None:
    bench.preview = bench.final = None
    with pytest.raises(AssertionError, match="nothing to encode"):
        time_parts(bench, bench.params(), repeats=1)


def test_mean_of_as_many_calls_as_asked_for() -> None:
    calls: list[int] = []
    assert mean_seconds(lambda: calls.append(1), repeats=3) >= 0
    assert len(calls) == 3
