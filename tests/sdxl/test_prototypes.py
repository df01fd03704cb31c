"""Noise samplers by name, whatever sampler a model comes with."""

from typing import Any

import pytest
import torch

from scheduler.request import SAMPLERS, SamplerName
from scheduler.sdxl.prototypes import Prototypes
from tests.models import NOISE_SCHEDULE, diffusers


def make_own(class_name: str = "EulerDiscreteScheduler", **config: Any) -> Any:
    return getattr(diffusers, class_name)(**NOISE_SCHEDULE, **config)


def refusal(own: Any, chosen: SamplerName | None = None) -> str:
    with pytest.raises(ValueError, match="its noise sampler") as caught:
        Prototypes(own, chosen)
    return str(caught.value)


CLASSES: dict[SamplerName, str] = {
    "euler": "EulerDiscreteScheduler",
    "euler_a": "EulerAncestralDiscreteScheduler",
    "dpmpp_2m": "DPMSolverMultistepScheduler",
    "ddim": "DDIMScheduler",
    "unipc": "UniPCMultistepScheduler",
    "lcm": "LCMScheduler",
}


@pytest.mark.parametrize(("name", "class_name"), CLASSES.items())
def test_a_models_own_sampler_has_a_name(name: SamplerName, class_name: str) -> None:
    own = make_own(class_name)
    prototypes = Prototypes(own)
    assert prototypes.default_name == name
    assert prototypes.names == SAMPLERS == tuple(CLASSES)
    assert prototypes.get(None) is prototypes.get(name) is own


@pytest.mark.parametrize(
    ("class_name", "config"),
    [
        ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
        ("DPMSolverMultistepScheduler", {"solver_order": 3}),
    ],
)
def test_one_more_particular_than_any_name_has_none(class_name: str, config: dict[str, Any]) -> None:
    own = make_own(class_name, **config)
    prototypes = Prototypes(own)
    assert prototypes.default_name is None
    assert prototypes.get(None) is own
    by_name = prototypes.get("dpmpp_2m").config
    assert (by_name.algorithm_type, by_name.solver_order) == ("dpmsolver++", 2)


@pytest.mark.parametrize("own", [*CLASSES.values(), "HeunDiscreteScheduler", "PNDMScheduler"])
@pytest.mark.parametrize(("name", "class_name"), CLASSES.items())
def test_the_noise_schedule_stays_the_models(name: SamplerName, class_name: str, own: str) -> None:
    model_sampler = make_own(own, prediction_type="v_prediction")
    sampler = Prototypes(model_sampler, chosen="euler").get(name)
    assert type(sampler).__name__ == class_name
    assert sampler.config.prediction_type == "v_prediction"
    assert sampler.config.steps_offset == 1
    torch.testing.assert_close(sampler.alphas_cumprod, model_sampler.alphas_cumprod)


def test_a_noise_schedule_that_is_a_classs_default_stays_too() -> None:
    own = diffusers.LCMScheduler()
    torch.testing.assert_close(Prototypes(own).get("euler").alphas_cumprod, own.alphas_cumprod)


def test_the_chosen_one_takes_the_place_of_the_models_own() -> None:
    prototypes = Prototypes(make_own(), chosen="unipc")
    assert prototypes.default_name == "unipc"
    assert prototypes.get(None) is prototypes.get("unipc")
    assert prototypes.get("euler").config.timestep_spacing == "leading"


@pytest.mark.parametrize("own", ["EulerDiscreteScheduler", "LCMScheduler", "PNDMScheduler"])
def test_ddim_neither_clips_latents_nor_ends_where_training_did_not(own: str) -> None:
    config = Prototypes(make_own(own), chosen="ddim").get(None).config
    assert (config.clip_sample, config.set_alpha_to_one) == (False, False)


def test_but_what_the_model_says_holds() -> None:
    own = make_own()
    own.register_to_config(clip_sample=True, set_alpha_to_one=True)  # as in the files of models that were DDIM's before
    config = Prototypes(own).get("ddim").config
    assert (config.clip_sample, config.set_alpha_to_one) == (True, True)
    own = diffusers.DDIMScheduler()
    assert Prototypes(own).get("ddim").config.clip_sample


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("num_steps", [1, 4, 7, 50])
def test_the_strides_of_ddim_meet_its_timesteps(spacing: str, num_steps: int) -> None:
    own = diffusers.EulerDiscreteScheduler(timestep_spacing=spacing)
    sampler = Prototypes(own).get("ddim")
    sampler.set_timesteps(num_steps)
    stride = 1000 // num_steps
    steps = -sampler.timesteps.diff()
    assert ((steps - stride).abs() <= 1).all()
    assert sampler.timesteps[-1] - stride <= 0


def test_a_sampler_that_is_not_known_is_refused_with_advice() -> None:
    own = make_own("HeunDiscreteScheduler")
    assert refusal(own) == (
        "its noise sampler HeunDiscreteScheduler is not known here; "
        "choose another with --sampler: euler, euler_a, dpmpp_2m, ddim, unipc, lcm"
    )
    assert Prototypes(own, chosen="euler").default_name == "euler"


@pytest.mark.parametrize(
    ("class_name", "config"),
    [
        ("UniPCMultistepScheduler", {"predict_x0": False}),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver", "final_sigmas_type": "sigma_min"}),
    ],
)
@pytest.mark.filterwarnings("ignore:.*algorithm_type sde-dpmsolver is deprecated:FutureWarning")
def test_a_sampler_that_gives_no_x0_is_refused_with_advice(class_name: str, config: dict[str, Any]) -> None:
    own = make_own(class_name, **config)
    assert "is set to predict noise, which gives no previews; choose another with --sampler: euler, " in refusal(own)
    assert Prototypes(own, chosen="unipc").get(None).config.predict_x0
    assert Prototypes(own, chosen="dpmpp_2m").get(None).config.algorithm_type == "dpmsolver++"


def test_no_other_takes_the_place_of_one_with_a_noise_schedule_of_another_kind() -> None:
    own = diffusers.EDMEulerScheduler()
    assert refusal(own) == "its noise sampler EDMEulerScheduler is not known here; no other can take its place"
    assert refusal(own, "euler") == "its noise sampler EDMEulerScheduler cannot be replaced by euler"
    continuous = make_own(timestep_type="continuous", prediction_type="v_prediction")
    assert Prototypes(continuous).names == ("euler",)
    assert refusal(continuous, "ddim") == "its noise sampler EulerDiscreteScheduler cannot be replaced by ddim"


def test_nor_where_a_class_cannot_read_what_the_model_predicts() -> None:
    assert Prototypes(make_own(prediction_type="sample")).names == ("euler",)
