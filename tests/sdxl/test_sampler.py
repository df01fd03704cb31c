"""A run of a noise sampler: what diffusers' class gives, and no run disturbs another."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from scheduler.request import SAMPLERS, SamplerName
from scheduler.sdxl.prototypes import Prototypes
from scheduler.sdxl.sampler import Sampler, draw_noise
from tests.models import NOISE_SCHEDULE, diffusers

STOCHASTIC: tuple[SamplerName, ...] = ("euler_a", "lcm")


@pytest.fixture
def prototypes() -> Prototypes:
    return Prototypes(diffusers.EulerDiscreteScheduler(**NOISE_SCHEDULE))


def predict(sample: Tensor, timestep: Tensor) -> Tensor:
    """Stands for a UNet: some smooth function of both."""
    return torch.sin(sample + timestep / 1000)


def steps(sampler: Any, num_steps: int, seed: int = 0) -> Iterator[Tensor]:
    """The latents after each step of a run, of one of ours or one of diffusers'."""
    sampler.set_timesteps(num_steps, device="cpu")
    generator = torch.Generator().manual_seed(seed)
    latents = draw_noise((1, 4, 8, 8), generator, torch.device("cpu")) * sampler.init_noise_sigma
    options = {} if type(sampler).__name__ == "UniPCMultistepScheduler" else {"generator": generator}
    for timestep in sampler.timesteps:
        output = predict(sampler.scale_model_input(latents, timestep), timestep)
        (latents, *_) = sampler.step(output, timestep, latents, return_dict=False, **options)
        yield latents


@pytest.mark.parametrize("num_steps", [1, 2, 4, 20, 50])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_run_equals_diffusers(name: SamplerName, num_steps: int, prototypes: Prototypes) -> None:
    ours = list(steps(Sampler(prototypes.get(name), torch.float32), num_steps))
    theirs = list(steps(prototypes.get(name), num_steps))
    assert len(ours) == len(theirs) == num_steps
    assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))
    assert ours[-1].isfinite().all()


@pytest.mark.parametrize("name", SAMPLERS)
def test_runs_of_one_prototype_do_not_disturb_each_other(name: SamplerName, prototypes: Prototypes) -> None:
    alone = list(steps(Sampler(prototypes.get(name), torch.float32), 8, seed=1))
    mate = steps(Sampler(prototypes.get(name), torch.float32), 20, seed=2)
    next(mate)
    run = steps(Sampler(prototypes.get(name), torch.float32), 8, seed=1)
    assert all(torch.equal(latents, expected) for latents, expected, _ in zip(run, alone, mate, strict=False))


@pytest.mark.parametrize("name", STOCHASTIC)
def test_noise_comes_from_the_seed(name: SamplerName, prototypes: Prototypes) -> None:
    runs = [list(steps(Sampler(prototypes.get(name), torch.float32), 4, seed)) for seed in (7, 7, 8)]
    assert torch.equal(runs[0][-1], runs[1][-1])
    assert not torch.allclose(runs[0][-1], runs[2][-1], atol=0.1)


def test_the_last_x0_is_the_picture(prototypes: Prototypes) -> None:
    sampler = Sampler(prototypes.get("unipc"), torch.float32)
    *_, latents = steps(sampler, 6)
    assert sampler.x0 is not None
    torch.testing.assert_close(sampler.x0, latents)


def test_half_precision_lives_between_scaling_and_step_only(prototypes: Prototypes) -> None:
    sampler = Sampler(prototypes.get("euler"), torch.bfloat16)
    sampler.set_timesteps(4, device="cpu")
    scaled = sampler.scale_model_input(torch.ones(1, 4, 8, 8), sampler.timesteps[0])
    (latents,) = sampler.step(scaled, sampler.timesteps[0], torch.ones(1, 4, 8, 8))
    assert sampler.x0 is not None
    assert [each.dtype for each in (scaled, latents, sampler.x0)] == [torch.bfloat16, torch.float32, torch.float32]


def test_consistency_sampling_takes_more_steps_than_it_was_distilled_for() -> None:
    prototypes = Prototypes(diffusers.LCMScheduler(original_inference_steps=25))
    latents = list(steps(Sampler(prototypes.get("lcm"), torch.float32), 50))
    assert len(latents) == 50
    fewer = Sampler(prototypes.get("lcm"), torch.float32)
    fewer.set_timesteps(5)
    assert fewer.timesteps.tolist() == [999, 799, 599, 399, 199]
