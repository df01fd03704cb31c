"""One step of all rows' noise samplers at once: a handful of operations, however many rows there are."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from scheduler.sdxl.course import StepWeights
from scheduler.sdxl.memory import Memory
from scheduler.sdxl.rows import Rows
from scheduler.sdxl.trajectory import Trajectory
from scheduler.sdxl.upload import staging, upload

X0_OF_SAMPLE = StepWeights._fields.index("x0_of_sample")
X0_OF_OUTPUT = StepWeights._fields.index("x0_of_output")
SUMMED = slice(StepWeights._fields.index("sample"), StepWeights._fields.index("noise"))
NOISE = StepWeights._fields.index("noise")


Stuck = tuple[Trajectory, Exception]
"""One for which memory does not suffice even alone, and which is where it was."""


def advance(rows: Rows, predictions: Tensor, memory: Memory) -> list[Stuck]:
    """Each trajectory takes its step, from the guided predictions [trajectories, 4, h/8, w/8] fp32.

    All of them at once, or in parts that fit into memory; but those with a sampler of their own one by one.
    """
    noise = draw_noise(rows.trajectories, predictions)  # for all parts, because a generator gives it but once
    stuck = dict(memory.fit(range(len(rows.trajectories)), partial(_step, rows, predictions, noise)).failures)
    for index, trajectory in enumerate(rows.trajectories):
        if trajectory.sampler is not None:
            stuck.pop(index, None)
            stuck |= dict(memory.fit([index], partial(_step_by_sampler, rows, predictions)).failures)
    return [(rows.trajectories[index], error) for index, error in stuck.items()]


def _step(rows: Rows, predictions: Tensor, noise: Tensor | None, part: Sequence[int]) -> None:
    """Of those in succession that need no sampler; none of them has taken it if this raises."""
    own = slice(part[0], part[-1] + 1)
    drawn = None if noise is None else upload(noise[own], predictions.device)
    states = next_states(rows.states[own], rows.weights[own], predictions[own], drawn)
    for trajectory, state in zip(rows.trajectories[own], states.unbind(), strict=True):
        if trajectory.sampler is None:
            trajectory.take_step(state)


def _step_by_sampler(rows: Rows, predictions: Tensor, part: Sequence[int]) -> None:
    (index,) = part
    trajectory = rows.trajectories[index]
    trajectory.take_step(trajectory.state_by_sampler(predictions[index : index + 1]))


def next_states(states: Tensor, weights: Tensor, predictions: Tensor, noise: Tensor | None) -> Tensor:
    """States of the shape [n, 1 + EARLIER, 4, h/8, w/8] and `StepWeights` [n, fields] -> the states one step on."""
    weights = weights[:, :, None, None, None]
    x0 = weights[:, X0_OF_SAMPLE] * states[:, 0] + weights[:, X0_OF_OUTPUT] * predictions
    latents = (weights[:, SUMMED] * torch.cat([states, x0.unsqueeze(1)], dim=1)).sum(1)
    if noise is not None:
        latents += weights[:, NOISE] * noise
    return torch.cat([latents.unsqueeze(1), x0.unsqueeze(1), states[:, 1:-1]], dim=1)


def draw_noise(trajectories: Sequence[Trajectory], like: Tensor) -> Tensor | None:
    """[n, 4, h/8, w/8] fp32 on the CPU, as those take it that do from their own generators; 0 for others.

    Ready to be uploaded to the device of `like`, which has the same shape.
    """
    if not any(each.step.noise for each in trajectories):
        return None
    noise = staging(tuple(like.shape), like.device)
    for each, own in zip(trajectories, torch.split(noise, 1), strict=True):
        if each.step.noise and each.sampler is None:
            torch.randn(own.shape, generator=each.generator, out=own)
    return noise
