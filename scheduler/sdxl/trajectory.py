"""One request on its way from noise to picture: all that is kept of it between steps."""

from dataclasses import dataclass

import torch
from torch import Tensor

from scheduler.request import GenerateParams, Request
from scheduler.sdxl.prompts import TextEmbedding
from scheduler.sdxl.sampler import Sampler


@dataclass(slots=True, eq=False)
class Trajectory:
    # Set on admission.
    request: Request
    sampler: Sampler
    generator: torch.Generator
    prompt: TextEmbedding
    negative: TextEmbedding | None  # None: no guidance
    timesteps: Tensor  # [steps] fp32, where the UNet is; those of the sampler are on the CPU
    guidance: Tensor  # [2] fp32: scale and rescale
    time_ids: Tensor  # [6]
    timestep_cond: Tensor | None  # [dim]

    # Written by each step.
    latents: Tensor  # [1, 4, h/8, w/8] fp32
    steps_done: int = 0

    @property
    def params(self) -> GenerateParams:
        return self.request.params

    @property
    def timestep(self) -> Tensor:
        """[] of the next step, as the sampler wants it."""
        return self.sampler.timesteps[self.steps_done]

    @property
    def x0(self) -> Tensor:
        """[1, 4, h/8, w/8] fp32, the clean latents predicted by the latest step."""
        assert self.sampler.x0 is not None, "no step made yet"
        return self.sampler.x0

    def model_input(self) -> Tensor:
        """[1, 4, h/8, w/8] scaled latents in the UNet's dtype."""
        return self.sampler.scale_model_input(self.latents, self.timestep)

    def advance(self, noise: Tensor) -> None:
        """One step of the noise sampler, from the UNet's output [1, 4, h/8, w/8] fp32."""
        (self.latents,) = self.sampler.step(noise, self.timestep, self.latents, generator=self.generator)
        self.steps_done += 1
