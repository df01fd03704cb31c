"""The same request gives the same picture: alone, in any batch, whenever it joins.

Batches of other sizes add up their sums in another order, so the same means: up to rounding, by the tolerances here.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from scheduler.engine import Engine
from scheduler.request import SAMPLERS, Request, SamplerName
from tests.sdxl.conftest import LoadEngine
from tests.sdxl.drive import Driver, Trace, make_request
from tests.sdxl.oracle import LEVELS, TOLERANCE, error_of_range, largest_difference

# In bfloat16: of the range of the latents after 8 steps, where another seed is 0.7 away; and of 255.
TOLERANCE_BFLOAT16 = 0.05
LEVELS_BFLOAT16 = 30


@pytest.fixture(scope="module")
def bfloat16_engine(tiny_sdxl: Path, load_engine: LoadEngine) -> Engine:
    return load_engine(tiny_sdxl, dtype="bfloat16")


def make_mates(num_requests: int) -> list[Request]:
    """Others with a guidance, a number of steps, a noise sampler and a seed of their own."""
    return [
        make_request(
            f"mate{index}",
            prompt=f"a boat, number {index}",
            seed=100 + index,
            num_steps=3 + index,
            guidance_scale=1.0 + index % 3,
            sampler=SAMPLERS[index % len(SAMPLERS)],
        )
        for index in range(num_requests)
    ]


def paint(engine: Engine, monkeypatch: pytest.MonkeyPatch, sampler: SamplerName, turn: int, num_mates: int) -> Trace:
    """The request that is watched, which joins `num_mates` others before that turn."""
    request = make_request("watched", seed=7, num_steps=8, sampler=sampler)
    joins = {0: make_mates(num_mates), turn: [request]} if turn else {0: [*make_mates(num_mates), request]}
    driver = Driver(engine, monkeypatch)
    driver.run(joins)
    return driver.traces["watched"]


def assert_same(actual: Trace, expected: Trace, tolerance: float, levels: int) -> None:
    assert error_of_range(actual.latents[-1], expected.latents[-1]) < tolerance
    assert actual.image is not None
    assert expected.image is not None
    assert largest_difference(actual.image, expected.image) <= levels


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_in_any_batch_at_any_time(step_engine: Engine, monkeypatch: pytest.MonkeyPatch, sampler: SamplerName) -> None:
    alone = paint(step_engine, monkeypatch, sampler, turn=0, num_mates=0)
    for turn, num_mates in ((0, 1), (0, 9), (2, 3), (5, 9)):
        assert_same(paint(step_engine, monkeypatch, sampler, turn, num_mates), alone, TOLERANCE, LEVELS)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_alone_it_is_the_same_to_the_last_bit(
    step_engine: Engine, monkeypatch: pytest.MonkeyPatch, sampler: SamplerName
) -> None:
    first, second = (paint(step_engine, monkeypatch, sampler, turn=0, num_mates=0) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(first.latents, second.latents, strict=True))
    assert np.array_equal(first.image, second.image)  # type: ignore[arg-type]


@pytest.mark.parametrize("sampler", ["euler_a", "unipc"])
def test_in_both_engines(
    step_engine: Engine, call_engine: Engine, monkeypatch: pytest.MonkeyPatch, sampler: SamplerName
) -> None:
    step, call = (paint(engine, monkeypatch, sampler, turn=0, num_mates=2) for engine in (step_engine, call_engine))
    assert_same(step, call, TOLERANCE, LEVELS)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_in_bfloat16(bfloat16_engine: Engine, monkeypatch: pytest.MonkeyPatch, sampler: SamplerName) -> None:
    alone = paint(bfloat16_engine, monkeypatch, sampler, turn=0, num_mates=0)
    for turn, num_mates in ((0, 1), (2, 9)):
        crowded = paint(bfloat16_engine, monkeypatch, sampler, turn, num_mates)
        assert_same(crowded, alone, TOLERANCE_BFLOAT16, LEVELS_BFLOAT16)
