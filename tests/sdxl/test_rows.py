"""Rows: gathered in an order that pairs them up, and given back to whom they belong."""

from typing import Any

import pytest
import torch
from torch import Tensor

from scheduler.sdxl.prompts import TextEmbedding
from scheduler.sdxl.rows import gather, scatter
from scheduler.sdxl.sampler import Sampler
from scheduler.sdxl.trajectory import Trajectory
from tests.models import NOISE_SCHEDULE, diffusers
from tests.sdxl.drive import make_request


def embedding(value: float) -> TextEmbedding:
    return TextEmbedding(torch.full((3, 5), value), torch.full((5,), value), truncated=False)


def make_trajectory(
    value: float, num_steps: int, negative: float | None = None, scale: float = 1.0, rescale: float = 0.0
) -> Trajectory:
    """Told apart by `value`, which is in all its tensors."""
    sampler = Sampler(diffusers.DDIMScheduler(**NOISE_SCHEDULE), torch.float32)
    sampler.set_timesteps(num_steps)
    return Trajectory(
        request=make_request(num_steps=num_steps, guidance_scale=scale, guidance_rescale=rescale),
        sampler=sampler,
        generator=torch.Generator(),
        prompt=embedding(value),
        negative=None if negative is None else embedding(negative),
        timesteps=sampler.timesteps.float(),
        guidance=torch.tensor([scale, rescale]),
        time_ids=torch.full((6,), value),
        timestep_cond=None,
        latents=torch.full((1, 4, 2, 3), value),
    )


@pytest.fixture
def batch() -> list[Trajectory]:
    return [
        make_trajectory(1.0, num_steps=10),
        make_trajectory(2.0, num_steps=20, negative=-2.0, scale=4.0),
        make_trajectory(3.0, num_steps=25),
        make_trajectory(4.0, num_steps=50, negative=-4.0, scale=8.0),
    ]


def first_of_each(rows: Tensor) -> list[float]:
    values: list[float] = rows.flatten(1)[:, 0].tolist()
    return values


def test_guided_requests_come_first_and_their_negatives_last(batch: list[Trajectory]) -> None:
    rows = gather(batch)
    assert rows.num_rows == 6
    assert first_of_each(rows.sample) == [2, 4, 1, 3, 2, 4]
    assert rows.timesteps.tolist() == [951, 981, 901, 961, 951, 981]
    assert first_of_each(rows.tokens) == first_of_each(rows.pooled) == [2, 4, 1, 3, -2, -4]
    assert first_of_each(rows.time_ids) == [2, 4, 1, 3, 2, 4]
    assert rows.guidance is not None
    assert rows.guidance.tolist() == [[4, 0], [8, 0]]
    assert rows.timestep_cond is None


def test_each_gets_its_own_prediction_with_its_own_guidance(batch: list[Trajectory]) -> None:
    rows = gather(batch)
    noise = torch.tensor([20.0, 40.0, 10.0, 30.0, 18.0, 37.0]).view(6, 1, 1, 1).expand(6, 4, 2, 3)
    shares = {id(trajectory): share for trajectory, share in scatter(rows, noise)}
    expected: list[Any] = [10, 18 + 4 * 2, 30, 37 + 8 * 3]
    for trajectory, value in zip(batch, expected, strict=True):
        torch.testing.assert_close(shares[id(trajectory)], torch.full((1, 4, 2, 3), float(value)))


def test_guidance_keeps_the_share_of_contrast_that_is_asked_for() -> None:
    batch = [make_trajectory(1.0, 10, negative=-1.0, scale=6.0, rescale=share) for share in (0.0, 0.25, 1.0)]
    rows = gather(batch)
    noise = torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    positive, negative = noise[:3], noise[3:]
    guided = negative + 6 * (positive - negative)
    for index, (_, share) in enumerate(scatter(rows, noise)):
        whole = guided[index].std()
        kept = share.std() / whole
        torch.testing.assert_close(kept, 1 + batch[index].params.guidance_rescale * (positive[index].std() / whole - 1))
        torch.testing.assert_close(share[0] / kept, guided[index])


@pytest.mark.parametrize("index", [0, 1])
def test_a_lone_request_with_and_without_guidance(batch: list[Trajectory], index: int) -> None:
    rows = gather([batch[index]])
    ((trajectory, share),) = scatter(rows, torch.ones(rows.num_rows, 4, 2, 3))
    assert trajectory is batch[index]
    torch.testing.assert_close(share, torch.ones(1, 4, 2, 3))


def test_half_precision_ends_at_the_unet(batch: list[Trajectory]) -> None:
    rows = gather(batch)
    assert all(share.dtype == torch.float32 for _, share in scatter(rows, rows.sample.bfloat16()))
