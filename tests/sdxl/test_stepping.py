"""All rows step at once: each by its own weights, from its own noise, or by a sampler of its own."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from scheduler.request import SAMPLERS, SamplerName
from scheduler.sdxl import stepping
from scheduler.sdxl.course import EARLIER, survey
from scheduler.sdxl.memory import Memory
from scheduler.sdxl.prompts import TextEmbedding
from scheduler.sdxl.prototypes import Prototypes
from scheduler.sdxl.rows import gather
from scheduler.sdxl.sampler import Sampler
from scheduler.sdxl.stepping import advance, draw_noise
from scheduler.sdxl.trajectory import Trajectory
from scheduler.sdxl.untyped import NoiseSampler
from tests.models import NOISE_SCHEDULE, diffusers
from tests.sdxl.drive import make_request

SHAPE = (1, 4, 8, 8)
PROTOTYPES = Prototypes(diffusers.EulerDiscreteScheduler(**NOISE_SCHEDULE))
MEMORY = Memory(lambda: False)
CLIPPING = diffusers.DDIMScheduler(**NOISE_SCHEDULE)


class Run:
    """A run of diffusers' class beside a trajectory with the same prototype, steps and seed."""

    def __init__(self, prototype: NoiseSampler, num_steps: int, seed: int) -> None:
        self.sampler, self.generator = make_sampler(prototype, num_steps), torch.Generator().manual_seed(seed)
        self.latents = torch.randn(SHAPE, generator=self.generator) * self.sampler.init_noise_sigma
        self.trajectory = make_trajectory(prototype, num_steps, seed)

    def step(self, prediction: Tensor) -> None:
        timestep = self.sampler.timesteps[self.trajectory.steps_done - 1]
        self.sampler.scale_model_input(self.latents, timestep)
        (self.latents,) = self.sampler.step(prediction, timestep, self.latents, self.generator)


def make_sampler(prototype: NoiseSampler, num_steps: int) -> Sampler:
    sampler = Sampler(prototype, torch.float32)
    sampler.set_timesteps(num_steps, device="cpu")
    sampler.set_begin_index(0)
    return sampler


def make_trajectory(prototype: NoiseSampler, num_steps: int, seed: int) -> Trajectory:
    course, generator = survey(prototype, num_steps), torch.Generator().manual_seed(seed)
    latents = torch.randn(SHAPE, generator=generator) * course.initial_sigma
    return Trajectory(
        request=make_request(num_steps=num_steps, seed=seed),
        course=course,
        sampler=None if course.is_linear else make_sampler(prototype, num_steps),
        generator=generator,
        prompt=TextEmbedding(torch.zeros(3, 5), torch.zeros(5), truncated=False),
        negative=None,
        time_ids=torch.zeros(6),
        timestep_cond=None,
        state=torch.cat([latents, latents.new_zeros(EARLIER, *SHAPE[1:])]),
    )


def assert_same(actual: Tensor, expected: Tensor) -> None:
    assert (actual - expected).abs().max() < 1e-5 * expected.abs().max()


def test_a_mixed_batch_goes_where_each_goes_alone() -> None:
    """Every sampler twice and one that clips; they are of different lengths and leave when they are done."""
    kinds = [*(PROTOTYPES.get(name) for name in SAMPLERS), CLIPPING]
    runs = [Run(kind, num_steps=3 + index % 5, seed=index) for index, kind in enumerate(kinds * 2)]
    generator = torch.Generator().manual_seed(0)
    while going := [run for run in runs if run.trajectory.steps_done < len(run.trajectory.course.steps)]:
        predictions = torch.randn((len(going), *SHAPE[1:]), generator=generator)
        advance(gather([run.trajectory for run in going]), predictions, MEMORY)
        for run, prediction in zip(going, torch.split(predictions, 1), strict=True):
            run.step(prediction)
            assert_same(run.trajectory.latents, run.latents)
            assert run.sampler.x0 is not None
            assert_same(run.trajectory.x0, run.sampler.x0)


def test_noise_is_each_ones_own() -> None:
    """Drawn by those alone that take some, so that none is taken from a generator in vain."""
    names: list[SamplerName] = ["euler_a", "euler", "lcm"]
    trajectories = [make_trajectory(PROTOTYPES.get(name), num_steps=4, seed=seed) for seed, name in enumerate(names)]
    states = [each.generator.get_state() for each in trajectories]
    noise = draw_noise(trajectories, like=torch.zeros(3, *SHAPE[1:]))
    assert noise is not None
    for index, (trajectory, state) in enumerate(zip(trajectories, states, strict=True)):
        generator = torch.Generator().set_state(state)
        is_stochastic = names[index] != "euler"
        expected = torch.randn(SHAPE, generator=generator) if is_stochastic else torch.zeros(SHAPE)
        assert torch.equal(noise[index : index + 1], expected)
        assert torch.equal(trajectory.generator.get_state(), generator.get_state())


def test_where_nobody_takes_noise_none_is_drawn() -> None:
    names: list[SamplerName] = ["euler", "dpmpp_2m", "ddim", "unipc"]
    trajectories = [make_trajectory(PROTOTYPES.get(name), num_steps=4, seed=0) for name in names]
    assert draw_noise(trajectories, like=torch.zeros(4, *SHAPE[1:])) is None


@pytest.mark.parametrize("num_rows", [1, 3])
def test_tensors_of_before_stay_as_they_are(num_rows: int) -> None:
    """What is decoded beside the steps still reads them."""
    trajectories = [make_trajectory(PROTOTYPES.get("unipc"), num_steps=3, seed=seed) for seed in range(num_rows)]
    advance(gather(trajectories), torch.ones(num_rows, *SHAPE[1:]), MEMORY)
    kept = [(each.latents, each.latents.clone(), each.x0, each.x0.clone()) for each in trajectories]
    advance(gather(trajectories), torch.ones(num_rows, *SHAPE[1:]), MEMORY)
    for latents, latents_before, x0, x0_before in kept:
        assert torch.equal(latents, latents_before)
        assert torch.equal(x0, x0_before)


class Cramped:
    """In place of a function, runs out of memory so many times; before that it has done its work."""

    def __init__(self, times: int, work: Callable[..., Any]) -> None:
        self._times = times
        self._work = work

    def __call__(self, *args: Any) -> Any:
        result = self._work(*args)
        if self._times:
            self._times -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB")
        return result


def mixed_trajectories() -> list[Trajectory]:
    kinds = [*(PROTOTYPES.get(name) for name in SAMPLERS), CLIPPING]
    return [make_trajectory(kind, num_steps=4, seed=seed) for seed, kind in enumerate(kinds)]


def step_twice(trajectories: Sequence[Trajectory], memory: Memory = MEMORY) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        advance(gather(trajectories), torch.randn((len(trajectories), *SHAPE[1:]), generator=generator), memory)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_where_memory_runs_out_each_takes_its_step_once(times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed, disturbed = mixed_trajectories(), mixed_trajectories()
    step_twice(undisturbed)
    monkeypatch.setattr(stepping, "next_states", Cramped(times, stepping.next_states))
    memory = Memory(lambda: False)
    step_twice(disturbed, memory)
    assert memory.take_halvings() == times
    for actual, expected in zip(disturbed, undisturbed, strict=True):
        assert actual.steps_done == 2
        assert_same(actual.state, expected.state)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_that_runs_out_of_memory_takes_its_step_once(
    name: SamplerName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a course that is not linear. What the first try drew and noted is undone."""
    undisturbed, disturbed = (make_trajectory(PROTOTYPES.get(name), num_steps=4, seed=1) for _ in range(2))
    for each in (undisturbed, disturbed):
        each.sampler = make_sampler(PROTOTYPES.get(name), 4)
    step_twice([undisturbed])
    assert disturbed.sampler is not None
    monkeypatch.setattr(disturbed.sampler, "_x0_of", Cramped(1, disturbed.sampler._x0_of))
    step_twice([disturbed], Memory(lambda: True))
    assert torch.equal(disturbed.state, undisturbed.state)


def test_who_does_not_fit_even_alone_is_told_and_stays_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    trajectories = mixed_trajectories()
    before = [each.state for each in trajectories]
    monkeypatch.setattr(stepping, "next_states", Cramped(100, stepping.next_states))
    stuck = advance(gather(trajectories), torch.ones(len(trajectories), *SHAPE[1:]), MEMORY)
    *linear, clipping = trajectories
    assert [trajectory for trajectory, _ in stuck] == linear
    assert [(each.steps_done, each.state is state) for each, state in zip(linear, before, strict=False)] == [
        (0, True)
    ] * len(linear)
    assert clipping.steps_done == 1  # its sampler needs no more than its own row
