"""One step of all rows' noise samplers at once: a handful of operations, however many rows there are."""

from collections.abc import Sequence

import torch
from torch import Tensor

from scheduler.sdxl.course import StepWeights
from scheduler.sdxl.rows import Rows
from scheduler.sdxl.trajectory import Trajectory
from scheduler.sdxl.upload import staging, upload

X0_OF_SAMPLE = StepWeights._fields.index("x0_of_sample")
X0_OF_OUTPUT = StepWeights._fields.index("x0_of_output")
SUMMED = slice(StepWeights._fields.index("sample"), StepWeights._fields.index("noise"))
NOISE = StepWeights._fields.index("noise")


def advance(rows: Rows, predictions: Tensor) -> None:
    """Each trajectory takes its step, from the guided predictions [trajectories, 4, h/8, w/8] fp32."""
    states = next_states(rows.states, rows.weights, predictions, draw_noise(rows.trajectories, predictions))
    for index, (trajectory, state) in enumerate(zip(rows.trajectories, states.unbind(), strict=True)):
        by_sampler = trajectory.sampler is not None
        trajectory.state = trajectory.state_by_sampler(predictions[index : index + 1]) if by_sampler else state
        trajectory.steps_done += 1


def next_states(states: Tensor, weights: Tensor, predictions: Tensor, noise: Tensor | None) -> Tensor:
    """States of the shape [n, 1 + EARLIER, 4, h/8, w/8] and `StepWeights` [n, fields] -> the states one step on."""
    weights = weights[:, :, None, None, None]
    x0 = weights[:, X0_OF_SAMPLE] * states[:, 0] + weights[:, X0_OF_OUTPUT] * predictions
    latents = (weights[:, SUMMED] * torch.cat([states, x0.unsqueeze(1)], dim=1)).sum(1)
    if noise is not None:
        latents += weights[:, NOISE] * noise
    return torch.cat([latents.unsqueeze(1), x0.unsqueeze(1), states[:, 1:-1]], dim=1)


def draw_noise(trajectories: Sequence[Trajectory], like: Tensor) -> Tensor | None:
    """[n, 4, h/8, w/8] fp32, of those that take some from their own generators, which are on the CPU; 0 for others."""
    if not any(each.step.noise for each in trajectories):
        return None
    noise = staging(tuple(like.shape), like.device)
    for each, own in zip(trajectories, torch.split(noise, 1), strict=True):
        if each.step.noise and each.sampler is None:
            torch.randn(own.shape, generator=each.generator, out=own)
    return upload(noise, like.device)
