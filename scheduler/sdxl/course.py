"""Noise samplers as numbers: what each step does to a run's latents, read off diffusers' own class."""

import math
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

    So whatever its settings are, nothing is derived a second time, and what does not fit shows. Takes about a
    millisecond a step, and is remembered for each prototype and number of steps.
    """
    sampler = Sampler(prototype, torch.float64)
    sampler.set_timesteps(num_steps, device="cpu")
    sampler.set_begin_index(0)
    surveyor = _Surveyor(sampler)
    steps = tuple(surveyor.step(timestep) for timestep in sampler.timesteps)
    is_clipped = bool(sampler.config.get("clip_sample") or sampler.config.get("thresholding"))
    return Course(
        initial_sigma=float(sampler.init_noise_sigma),
        steps=steps,
        is_linear=not is_clipped and surveyor.largest_error < TOLERANCE,
    )


class _Surveyor:
    """Takes a noise sampler through its steps. `largest_error` is how far any step is from its weights."""

    def __init__(self, sampler: Sampler) -> None:
        self.largest_error = 0.0
        self._sampler = sampler
        self._generator = torch.Generator().manual_seed(0)
        self._sample = self._random()
        self._x0s = [torch.zeros_like(self._sample)] * EARLIER  # the latest first

    def step(self, timestep: Tensor) -> StepWeights:
        sampler, sample, output = self._sampler, self._sample, self._random()
        (scale,) = self._fit(sampler.scale_model_input(sample, timestep), sample)
        with _Listening() as draws:
            (latents,) = sampler.step(output, timestep, sample, self._generator)
        assert sampler.x0 is not None
        x0, noise = sampler.x0, draws.latest if draws.latest is not None else torch.zeros_like(sample)
        weights = StepWeights(
            float(timestep),
            scale,
            *self._fit(x0, sample, output),
            *self._fit(latents, sample, *self._x0s, x0, noise),
        )
        self._sample = latents.float().double()  # some of them round it anyway
        self._x0s = [x0, *self._x0s[:-1]]
        return weights if draws.latest is not None else weights._replace(noise=0.0)

    def _random(self) -> Tensor:
        return torch.randn((LANES, 1, 1, 1), generator=self._generator).double()

    def _fit(self, result: Tensor, *parts: Tensor) -> list[float]:
        """The weights with which the parts add up to the result."""
        if not result.isfinite().all():
            self.largest_error = math.inf
            return [0.0] * len(parts)
        matrix = torch.stack([part.flatten().double() for part in parts], dim=1)
        wanted = result.flatten()
        weights = torch.linalg.lstsq(matrix, wanted[:, None], driver="gelsd").solution.flatten()
        error = (matrix @ weights - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30)
        self.largest_error = max(self.largest_error, float(error))
        return [float(weight) for weight in weights]


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
