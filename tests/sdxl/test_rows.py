"""Rows: gathered in an order that pairs them up, and given back to whom they belong."""

import pytest
import torch
from torch import Tensor

from scheduler.sdxl.course import EARLIER, survey
from scheduler.sdxl.prompts import TextEmbedding
from scheduler.sdxl.rows import gather, guide
from scheduler.sdxl.trajectory import Trajectory
from tests.models import NOISE_SCHEDULE, diffusers
from tests.sdxl.drive import make_request


def embedding(value: float) -> TextEmbedding:
    return TextEmbedding(torch.full((3, 5), value), torch.full((5,), value), truncated=False)


def make_trajectory(
    value: float, num_steps: int, negative: float | None = None, scale: float = 1.0, rescale: float = 0.0
) -> Trajectory:
    """Told apart by `value`, which is in all its tensors."""
    return Trajectory(
        request=make_request(num_steps=num_steps, guidance_scale=scale, guidance_rescale=rescale),
        course=survey(diffusers.EulerDiscreteScheduler(**NOISE_SCHEDULE), num_steps),
        sampler=None,
        generator=torch.Generator(),
        prompt=embedding(value),
        negative=None if negative is None else embedding(negative),
        time_ids=torch.full((6,), value),
        timestep_cond=None,
        state=torch.full((1 + EARLIER, 4, 2, 3), value),
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
    assert rows.trajectories == [batch[1], batch[3], batch[0], batch[2]]
    assert rows.timesteps.tolist() == [951, 981, 901, 961, 951, 981]
    assert first_of_each(rows.tokens) == first_of_each(rows.pooled) == [2, 4, 1, 3, -2, -4]
    assert first_of_each(rows.time_ids) == [2, 4, 1, 3, 2, 4]
    assert first_of_each(rows.states) == [2, 4, 1, 3]
    assert rows.guidance.tolist() == [[4, 0], [8, 0]]
    assert rows.timestep_cond is None


def test_each_has_its_own_step(batch: list[Trajectory]) -> None:
    batch[0].steps_done = 3
    rows = gather(batch)
    for weights, trajectory in zip(rows.weights, rows.trajectories, strict=True):
        assert weights.tolist() == pytest.approx(trajectory.step)
    assert rows.timesteps.tolist() == [951, 981, 601, 961, 951, 981]


def test_the_unet_reads_latents_scaled_as_each_sampler_has_it(batch: list[Trajectory]) -> None:
    rows = gather(batch)
    scales = [each.step.scale for each in rows.trajectories]
    assert len(set(scales)) == 4
    expected = [value * scale for value, scale in zip([2, 4, 1, 3, 2, 4], scales + scales[:2], strict=True)]
    assert first_of_each(rows.sample) == pytest.approx(expected)


def test_each_gets_its_own_prediction_with_its_own_guidance(batch: list[Trajectory]) -> None:
    rows = gather(batch)
    output = torch.tensor([20.0, 40.0, 10.0, 30.0, 18.0, 37.0]).view(6, 1, 1, 1).expand(6, 4, 2, 3)
    assert first_of_each(guide(rows, output)) == [18 + 4 * 2, 37 + 8 * 3, 10, 30]


def test_guidance_keeps_the_share_of_contrast_that_is_asked_for() -> None:
    batch = [make_trajectory(1.0, 10, negative=-1.0, scale=6.0, rescale=share) for share in (0.0, 0.25, 1.0)]
    output = torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    positive, negative = output[:3], output[3:]
    guided = negative + 6 * (positive - negative)
    for index, prediction in enumerate(guide(gather(batch), output)):
        whole = guided[index].std()
        kept = prediction.std() / whole
        torch.testing.assert_close(kept, 1 + batch[index].params.guidance_rescale * (positive[index].std() / whole - 1))
        torch.testing.assert_close(prediction / kept, guided[index])


@pytest.mark.parametrize("index", [0, 1])
def test_a_lone_request_with_and_without_guidance(batch: list[Trajectory], index: int) -> None:
    rows = gather([batch[index]])
    assert rows.trajectories == [batch[index]]
    assert rows.num_rows == 1 + index
    torch.testing.assert_close(guide(rows, torch.ones(1 + index, 4, 2, 3)), torch.ones(1, 4, 2, 3))


def test_half_precision_lives_in_the_unet_only(batch: list[Trajectory]) -> None:
    for each in batch:
        each.prompt = in_half(each.prompt)
        each.negative = None if each.negative is None else in_half(each.negative)
    rows = gather(batch)
    assert rows.sample.dtype == torch.bfloat16
    assert rows.timesteps.dtype == rows.states.dtype == guide(rows, rows.sample).dtype == torch.float32


def in_half(text: TextEmbedding) -> TextEmbedding:
    return TextEmbedding(text.tokens.bfloat16(), text.pooled.bfloat16(), text.truncated)
