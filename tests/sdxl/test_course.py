"""Courses: the weights with which a noise sampler's steps add up are those of diffusers' class."""

import pytest
import torch
from torch import Tensor

from scheduler.request import SAMPLERS, SamplerName
from scheduler.sdxl.course import EARLIER, Course, StepWeights, survey
from scheduler.sdxl.prototypes import Prototypes
from scheduler.sdxl.sampler import Sampler, draw_noise
from scheduler.sdxl.untyped import NoiseSampler
from tests.models import NOISE_SCHEDULE, diffusers

V_PREDICTION = {"prediction_type": "v_prediction", "timestep_spacing": "trailing"}

LINEAR: dict[str, NoiseSampler] = {
    "solver of third order": diffusers.DPMSolverMultistepScheduler(**NOISE_SCHEDULE, solver_order=3),
    "Heun's solver": diffusers.DPMSolverMultistepScheduler(**NOISE_SCHEDULE, solver_type="heun"),
    "stochastic solver": diffusers.DPMSolverMultistepScheduler(**NOISE_SCHEDULE, algorithm_type="sde-dpmsolver++"),
    "corrector of the first kind": diffusers.UniPCMultistepScheduler(
        **NOISE_SCHEDULE, solver_type="bh1", final_sigmas_type="sigma_min"
    ),
    "no corrector at first": diffusers.UniPCMultistepScheduler(**NOISE_SCHEDULE, disable_corrector=[0, 1, 2]),
    "Karras sigmas": diffusers.UniPCMultistepScheduler(**NOISE_SCHEDULE, use_karras_sigmas=True),
    "zero terminal SNR": diffusers.DDIMScheduler(
        **(NOISE_SCHEDULE | V_PREDICTION), rescale_betas_zero_snr=True, clip_sample=False
    ),
    "prediction of x0": diffusers.DDIMScheduler(**NOISE_SCHEDULE, prediction_type="sample", clip_sample=False),
}
NOT_LINEAR: dict[str, NoiseSampler] = {
    "clipping": diffusers.DDIMScheduler(**NOISE_SCHEDULE, clip_sample=True),
    "thresholding": diffusers.DPMSolverMultistepScheduler(**NOISE_SCHEDULE, thresholding=True),
    "too many earlier x0s": diffusers.UniPCMultistepScheduler(**NOISE_SCHEDULE, solver_order=3),
}


@pytest.fixture
def prototypes() -> Prototypes:
    return Prototypes(diffusers.EulerDiscreteScheduler(**NOISE_SCHEDULE))


def predict(sample: Tensor, timestep: float) -> Tensor:
    """Stands for a UNet: some smooth function of both."""
    return torch.sin(sample + timestep / 1000)


def follow(course: Course) -> list[Tensor]:
    """The latents and x0 after each step of a run, [2, 1, 4, 8, 8]."""
    generator = torch.Generator().manual_seed(0)
    latents = draw_noise((1, 4, 8, 8), generator, torch.device("cpu")) * course.initial_sigma
    x0s, taken = [torch.zeros_like(latents)] * EARLIER, []
    for step in course.steps:
        output = predict(latents * step.scale, step.timestep)
        x0 = step.x0_of_sample * latents + step.x0_of_output * output
        noise = torch.randn(latents.shape, generator=generator) if step.noise else torch.zeros_like(latents)
        parts = [latents, *x0s, x0, noise]
        latents = torch.stack([weight * part for weight, part in zip(step[-5:], parts, strict=True)]).sum(0)
        x0s = [x0, *x0s[:-1]]
        taken.append(torch.stack([latents, x0]))
    return taken


def run_diffusers(prototype: NoiseSampler, num_steps: int) -> list[Tensor]:
    sampler, generator = Sampler(prototype, torch.float32), torch.Generator().manual_seed(0)
    sampler.set_timesteps(num_steps, device="cpu")
    latents = draw_noise((1, 4, 8, 8), generator, torch.device("cpu")) * sampler.init_noise_sigma
    taken = []
    for timestep in sampler.timesteps:
        output = predict(sampler.scale_model_input(latents, timestep), float(timestep))
        (latents,) = sampler.step(output, timestep, latents, generator)
        assert sampler.x0 is not None
        taken.append(torch.stack([latents, sampler.x0]))
    return taken


def assert_equals_diffusers(prototype: NoiseSampler, num_steps: int) -> None:
    course = survey(prototype, num_steps)
    assert course.is_linear
    for ours, theirs in zip(follow(course), run_diffusers(prototype, num_steps), strict=True):
        assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()


@pytest.mark.parametrize("num_steps", [1, 2, 3, 8, 20, 50])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_course_leads_where_diffusers_leads(name: SamplerName, num_steps: int, prototypes: Prototypes) -> None:
    assert_equals_diffusers(prototypes.get(name), num_steps)


@pytest.mark.parametrize("num_steps", [1, 4, 25])
@pytest.mark.parametrize("name", SAMPLERS)
def test_it_does_for_velocities(name: SamplerName, num_steps: int) -> None:
    own = diffusers.EulerDiscreteScheduler(**(NOISE_SCHEDULE | V_PREDICTION))
    assert_equals_diffusers(Prototypes(own).get(name), num_steps)


@pytest.mark.parametrize("num_steps", [1, 2, 20])
@pytest.mark.parametrize("prototype", LINEAR.values(), ids=list(LINEAR))
def test_it_does_for_settings_of_a_models_own(prototype: NoiseSampler, num_steps: int) -> None:
    assert_equals_diffusers(prototype, num_steps)


@pytest.mark.parametrize("prototype", NOT_LINEAR.values(), ids=list(NOT_LINEAR))
def test_what_weights_cannot_tell_is_said(prototype: NoiseSampler) -> None:
    course = survey(prototype, 20)
    assert not course.is_linear
    sampler = Sampler(prototype, torch.float32)
    sampler.set_timesteps(20)
    assert [step.timestep for step in course.steps] == sampler.timesteps.tolist()
    assert [step.scale for step in course.steps] == pytest.approx([1.0] * 20)


@pytest.mark.parametrize("own", ["clipping", "thresholding"])
def test_settings_of_another_class_mean_nothing(own: str) -> None:
    """What is made of a model's own noise sampler keeps its whole configuration."""
    prototype = Prototypes(NOT_LINEAR[own]).get("euler_a")
    assert prototype.config.get("clip_sample") or prototype.config.get("thresholding")
    assert_equals_diffusers(prototype, 20)


def test_eulers_method_as_in_the_paper(prototypes: Prototypes) -> None:
    """x0 = x - sigma output, and the next x is on the line between x and x0, by the share of the next sigma."""
    course, sampler = survey(prototypes.get("euler"), 10), diffusers.EulerDiscreteScheduler(**NOISE_SCHEDULE)
    sampler.set_timesteps(10)
    sigmas = sampler.sigmas.tolist()
    for step, timestep, sigma, following in zip(
        course.steps, sampler.timesteps.tolist(), sigmas[:-1], sigmas[1:], strict=True
    ):
        share = following / sigma
        expected = StepWeights(timestep, (sigma**2 + 1) ** -0.5, 1.0, -sigma, share, 0.0, 0.0, 1 - share, 0.0)
        assert step == pytest.approx(expected, abs=1e-6)
    assert course.initial_sigma == pytest.approx((sigmas[0] ** 2 + 1) ** 0.5)


def test_noise_is_drawn_where_diffusers_draws_it(prototypes: Prototypes) -> None:
    draws = {name: [step.noise != 0 for step in survey(prototypes.get(name), 4).steps] for name in SAMPLERS}
    stochastic = {name for name, drawn in draws.items() if any(drawn)}
    assert stochastic == {"euler_a", "lcm"}
    assert draws["lcm"] == [True, True, True, False]


def test_a_course_is_surveyed_once(prototypes: Prototypes) -> None:
    assert survey(prototypes.get("euler"), 4) is survey(prototypes.get(None), 4)
    assert len(survey(prototypes.get("euler"), 5).steps) == 5


def test_a_survey_leaves_the_prototype_as_it_is(prototypes: Prototypes) -> None:
    prototype = prototypes.get("unipc")
    survey(prototype, 4)
    assert prototype.num_inference_steps is None
    assert prototype.last_sample is None
