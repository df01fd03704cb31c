"""Noise samplers as numbers: what each step does to a run's latents, read off diffusers' own class."""

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from scheduler.sdxl.sampler import Sampler
from scheduler.sdxl.untyped import NoiseSampler

EARLIER = 2  # earlier x0s that a step may read; solvers of up to third order, or second with a corrector, read as many
LANES = 64  # numbers that a survey follows, more than any step has weights
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

    So whatever its settings are, nothing is derived a second time, and what does not fit shows. Takes less than a
    millisecond a step, and is remembered for each prototype and number of steps.
    """
    sampler = Sampler(prototype, torch.float64)
    sampler.set_timesteps(num_steps, device="cpu")
    sampler.set_begin_index(0)
    surveyor = _Surveyor(sampler)
    steps, largest_error = _weigh([surveyor.step(timestep) for timestep in sampler.timesteps])
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
    earlier: Sequence[Tensor]
    x0: Tensor
    noise: Tensor | None
    latents: Tensor

    @property
    def summed(self) -> Sequence[Tensor]:
        """What the latents are a sum of, in the order of `StepWeights`."""
        noise = torch.zeros_like(self.sample) if self.noise is None else self.noise
        return [self.sample, *self.earlier, self.x0, noise]


class _Surveyor:
    """Takes a noise sampler through its steps."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self._generator = torch.Generator().manual_seed(0)
        self._sample = self._random()
        self._x0s = [torch.zeros_like(self._sample)] * EARLIER  # the latest first

    def step(self, timestep: Tensor) -> _Step:
        sampler, sample, output = self._sampler, self._sample, self._random()
        scaled = sampler.scale_model_input(sample, timestep)
        with _Listening() as draws:
            (latents,) = sampler.step(output, timestep, sample, self._generator)
        assert sampler.x0 is not None
        earlier, self._x0s = self._x0s, [sampler.x0, *self._x0s[:-1]]
        self._sample = latents.float().double()  # some of them round it anyway
        return _Step(float(timestep), sample, output, scaled, earlier, sampler.x0, draws.latest, latents)

    def _random(self) -> Tensor:
        return torch.randn((LANES, 1, 1, 1), generator=self._generator).double()


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


def _fit(results: Sequence[Tensor], parts: Sequence[Sequence[Tensor]]) -> tuple[list[list[float]], float]:
    """The weights with which each one's parts add up to its result, and the largest error."""
    wanted = torch.stack([result.flatten().double() for result in results])
    matrices = torch.stack([torch.stack([part.flatten().double() for part in each], dim=1) for each in parts])
    is_finite = wanted.isfinite().all(1) & matrices.isfinite().all(2).all(1)
    wanted = wanted.where(is_finite[:, None], 0.0)
    matrices = matrices.where(is_finite[:, None, None], 0.0)
    weights = torch.linalg.lstsq(matrices, wanted[:, :, None], driver="gelsd").solution
    errors = ((matrices @ weights)[:, :, 0] - wanted).abs().amax(1) / wanted.abs().amax(1).clamp(min=1e-30)
    return weights[:, :, 0].tolist(), float(errors.max()) if is_finite.all() else math.inf


class _Listening(TorchFunctionMode):
    """Hears what noise is drawn meanwhile."""

    latest: Tensor | None = None

    def __torch_function__(
        self, func: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.randn:
            self.latest = result
        return result
