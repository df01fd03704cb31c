"""One request on its way from noise to picture: all that is kept of it between steps."""

from dataclasses import dataclass

import torch
from torch import Tensor

from scheduler.request import GenerateParams, Request
from scheduler.sdxl.course import Course, StepWeights
from scheduler.sdxl.prompts import TextEmbedding
from scheduler.sdxl.sampler import Sampler


@dataclass(slots=True, eq=False)
class Trajectory:
    # Set on admission.
    request: Request
    course: Course
    sampler: Sampler | None  # takes the steps where the course is not linear
    generator: torch.Generator
    prompt: TextEmbedding
    negative: TextEmbedding | None  # None: no guidance
    time_ids: Tensor  # [6]
    timestep_cond: Tensor | None  # [dim]

    # Written by each step.
    state: Tensor  # [1 + EARLIER, 4, h/8, w/8] fp32: the latents, and the x0s of the steps before, the latest first
    steps_done: int = 0

    @property
    def params(self) -> GenerateParams:
        return self.request.params

    @property
    def is_truncated(self) -> bool:
        """Whether the prompt or the negative one was cut."""
        return self.prompt.truncated or (self.negative is not None and self.negative.truncated)

    @property
    def step(self) -> StepWeights:
        """The next one."""
        return self.course.steps[self.steps_done]

    @property
    def latents(self) -> Tensor:
        """[1, 4, h/8, w/8] fp32."""
        return self.state[:1]

    @property
    def x0(self) -> Tensor:
        """[1, 4, h/8, w/8] fp32, the clean latents predicted by the latest step."""
        return self.state[1:2]

    def take_step(self, state: Tensor) -> None:
        self.state = state
        self.steps_done += 1

    def state_by_sampler(self, prediction: Tensor) -> Tensor:
        """What `state` is after the next step, from the guided prediction [1, 4, h/8, w/8] fp32.

        The sampler and the generator go on; if anything raises, they stay where they were.
        """
        assert self.sampler is not None
        timestep = self.sampler.timesteps[self.steps_done]
        with self.sampler.undone_on_error(self.generator):
            (latents,) = self.sampler.step(prediction, timestep, self.latents, generator=self.generator)
            assert self.sampler.x0 is not None
            return torch.cat([latents, self.sampler.x0, self.state[1:-1]])
