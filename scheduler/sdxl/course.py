"""Noise samplers as numbers: what each step does to a run's latents, read off diffusers' own class."""

import inspect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from scheduler.sdxl.sampler import Sampler
from scheduler.sdxl.untyped import NoiseSampler

EARLIER = 2  # earlier x0s that a step may read; solvers of up to third order, or second with a corrector, read as many
LANES = 64  # numbers that a survey follows, more than any step has weights
NOISE_DTYPES = (torch.float64, torch.float32)  # in which noise is drawn: that of the latents, or fp32 whatever they are
LIMITS = ("clip_sample", "thresholding")  # settings: what limits x0 may not show with random numbers
TOLERANCE = 1e-5  # of the largest number; diffusers computes its own weights in fp32


class StepWeights(NamedTuple):
    """One step: x0 = `x0_of_sample` sample + `x0_of_output` output, and the next sample is the sum of the last five.

    `scale` is for what the UNet reads. `noise` is 0 where none is drawn.
    """

    timestep: float
    scale: float
    x0_of_sample: float
    x0_of_output: float
    sample: float
    x0_before: float
    x0_two_before: float
    x0: float
    noise: float


@dataclass(frozen=True, slots=True)
class Course:
    """A run of a noise sampler. Where it is not linear, `steps` hold for their timesteps and scales only."""

    initial_sigma: float
    steps: tuple[StepWeights, ...]
    is_linear: bool


@lru_cache(maxsize=1024)
def survey(prototype: NoiseSampler, num_steps: int) -> Course:
    """Lets diffusers' class run on random numbers, and fits each step's weights to what it computed.

    So whatever its settings are, nothing is derived a second time, and what does not fit shows. Takes a fraction of a
    millisecond a step, and is remembered for each prototype and number of steps.
    """
    sampler = Sampler(prototype, torch.float64)
    sampler.set_timesteps(num_steps, device="cpu")
    sampler.set_begin_index(0)
    steps, largest_error = _weigh(list(_run(sampler)))
    return Course(
        initial_sigma=float(sampler.init_noise_sigma),
        steps=steps,
        is_linear=not _clips(prototype) and largest_error < TOLERANCE,
    )


def _clips(prototype: NoiseSampler) -> bool:
    """Whether it limits x0. A configuration may also hold settings of another class, which mean nothing to its own."""
    settings = inspect.signature(type(prototype).__init__).parameters
    return any(prototype.config[name] for name in LIMITS if name in settings)


class _Step(NamedTuple):
    """What diffusers' class computed, and from what; `noise` is None where none was drawn."""

    timestep: float
    sample: Tensor
    output: Tensor
    scaled: Tensor
    earlier: list[Tensor]
    x0: Tensor
    noise: Tensor | None
    latents: Tensor

    @property
    def summed(self) -> list[Tensor]:
        """What the latents are a sum of, in the order of `StepWeights`."""
        noise = torch.zeros_like(self.sample) if self.noise is None else self.noise
        return [self.sample, *self.earlier, self.x0, noise]


def _run(sampler: Sampler) -> Iterator[_Step]:
    """Takes a noise sampler through its steps, on random numbers."""
    generator = torch.Generator().manual_seed(0)
    sample, *outputs = torch.randn((1 + len(sampler.timesteps), LANES, 1, 1, 1), generator=generator).double()
    x0s = [torch.zeros_like(sample)] * EARLIER  # the latest first
    for timestep, output in zip(sampler.timesteps, outputs, strict=True):
        scaled, before = sampler.scale_model_input(sample, timestep), generator.get_state()
        (latents,) = sampler.step(output, timestep, sample, generator)
        assert sampler.x0 is not None
        yield _Step(float(timestep), sample, output, scaled, x0s, sampler.x0, _drawn(generator, before), latents)
        x0s = [sampler.x0, *x0s[:-1]]
        sample = latents.float().double()  # some of them round it anyway


def _drawn(generator: torch.Generator, before: Tensor) -> Tensor | None:
    """The noise that was drawn since it was in that state, drawn again in the dtype that leads to where it is now.

    Where it is anything else, the weights will not fit. None for none.
    """
    now = generator.get_state()
    if torch.equal(before, now):
        return None
    for dtype in NOISE_DTYPES:
        generator.set_state(before)
        noise = torch.randn((LANES, 1, 1, 1), generator=generator, dtype=dtype)
        if torch.equal(generator.get_state(), now):
            break
    return noise


def _weigh(steps: Sequence[_Step]) -> tuple[tuple[StepWeights, ...], float]:
    """Each step's weights, all of one kind found at once, and how far any step is from its own."""
    scales, scale_error = _fit([step.scaled for step in steps], [[step.sample] for step in steps])
    x0s, x0_error = _fit([step.x0 for step in steps], [[step.sample, step.output] for step in steps])
    sums, sum_error = _fit([step.latents for step in steps], [step.summed for step in steps])
    weights = []
    for step, scale, x0, summed in zip(steps, scales, x0s, sums, strict=True):
        each = StepWeights(step.timestep, *scale, *x0, *summed)
        weights.append(each if step.noise is not None else each._replace(noise=0.0))
    return tuple(weights), max(scale_error, x0_error, sum_error)


def _fit(results: list[Tensor], parts: list[list[Tensor]]) -> tuple[list[list[float]], float]:
    """The weights with which each one's parts add up to its result, and the largest error."""
    wanted = torch.stack(results).flatten(1).double()
    matrices = torch.stack([torch.cat(each, dim=1) for each in parts]).flatten(2).double()
    is_finite = wanted.isfinite().all(1) & matrices.isfinite().all(2).all(1)
    wanted = wanted.where(is_finite[:, None], 0.0)
    matrices = matrices.where(is_finite[:, None, None], 0.0)
    weights = torch.linalg.lstsq(matrices, wanted[:, :, None], driver="gelsd").solution
    errors = ((matrices @ weights)[:, :, 0] - wanted).abs().amax(1) / wanted.abs().amax(1).clamp(min=1e-30)
    return weights[:, :, 0].tolist(), float(errors.max()) if is_finite.all() else math.inf
