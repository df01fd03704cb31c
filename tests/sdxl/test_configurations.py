"""All that the pipeline honours, of a request and of a model's configuration: both engines honour it too."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scheduler.engine import Engine
from scheduler.request import SAMPLERS, Request
from tests.models import save_tiny_sdxl, save_vae
from tests.sdxl.conftest import LoadEngine
from tests.sdxl.drive import Driver, make_request
from tests.sdxl.oracle import Oracle, assert_all_own, distinct

Joins = dict[int, list[Request]]


@dataclass(frozen=True, slots=True)
class Model:
    folder: Path
    oracle: Oracle
    requests: Sequence[dict[str, Any]] = ()


def save_model(
    factory: pytest.TempPathFactory, settings: dict[str, Any], requests: Sequence[dict[str, Any]] = ()
) -> Model:
    folder = save_tiny_sdxl(factory.mktemp("model"), **settings)
    return Model(folder, Oracle(folder), requests)


def joining(*batches: Sequence[dict[str, Any]]) -> Joins:
    """One batch after the other, a turn apart. Each request has a seed of its own."""
    joins: Joins = {}
    for turn, batch in enumerate(batches):
        joins[turn] = [
            make_request(f"{turn}/{index}", **({"seed": 10 * turn + index} | params))
            for index, params in enumerate(batch)
        ]
    return joins


def assert_equals_lone_calls(engine: Engine, joins: Joins, oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver = Driver(engine, monkeypatch)
    driver.run(joins)
    assert_all_own(driver, joins.values(), oracle)
    return driver


def test_guidance_rescale(tiny_engine: Engine, tiny_oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    joins = joining(
        [{"guidance_rescale": 0.7, "guidance_scale": 8.0}, {"guidance_scale": 8.0}],
        [{"guidance_rescale": 1.0}, {"guidance_rescale": 0.5, "guidance_scale": 1.0}],
    )
    assert_equals_lone_calls(tiny_engine, joins, tiny_oracle, monkeypatch)


def test_size_conditions(tiny_engine: Engine, tiny_oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    conditions: list[dict[str, Any]] = [
        {},
        {"original_size": (512, 300)},
        {"target_size": (1000, 64)},
        {"crop": (0, 40)},
        {"crop": (40, 0)},
        {"original_size": (32, 48), "target_size": (64, 96), "crop": (8, 16), "guidance_scale": 0.0},
    ]
    joins = joining([params | {"seed": 1, "num_steps": 2} for params in conditions])
    driver = assert_equals_lone_calls(tiny_engine, joins, tiny_oracle, monkeypatch)
    assert distinct([trace.image for trace in driver.traces.values() if trace.image is not None])


SETTINGS: dict[str, dict[str, Any]] = {
    "epsilon": {},
    "v-prediction": {"prediction_type": "v_prediction", "timestep_spacing": "trailing", "steps_offset": 0},
}


@pytest.fixture(scope="module", params=SETTINGS.values(), ids=list(SETTINGS))
def plain_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return save_model(tmp_path_factory, request.param)


def test_samplers_by_name_mixed_in_a_batch(
    plain_model: Model, batching: str, load_engine: LoadEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    joins = joining(
        [{"sampler": name, "num_steps": 5 + index} for index, name in enumerate(SAMPLERS)],
        [{"num_steps": 3}],
        [{"sampler": name, "num_steps": 1 + index, "guidance_scale": 0.0} for index, name in enumerate(SAMPLERS)],
    )
    engine = load_engine(plain_model.folder, batching=batching)
    driver = assert_equals_lone_calls(engine, joins, plain_model.oracle, monkeypatch)
    if batching == "step":
        assert max(len(step.outputs) for step in driver.steps) == 13


MODELS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "zero terminal SNR": (
        SETTINGS["v-prediction"] | {"rescale_betas_zero_snr": True},
        [{"guidance_scale": 7.0, "guidance_rescale": 0.7}, {"sampler": "ddim"}, {"sampler": "dpmpp_2m"}],
    ),
    "Karras sigmas": ({"use_karras_sigmas": True}, [{}, {"sampler": "dpmpp_2m"}, {"sampler": "unipc"}]),
    "a stochastic solver": (
        {"sampler": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True},
        [{"num_steps": 6}, {"num_steps": 6}, {"num_steps": 1}, {"sampler": "dpmpp_2m"}],
    ),
    "DDIM": (
        {"sampler": "DDIMScheduler", "clip_sample": False, "set_alpha_to_one": False},
        [{}, {"num_steps": 1}, {"sampler": "euler"}],
    ),
    "DDIM that clips": (
        {"sampler": "DDIMScheduler", "clip_sample": True, "clip_sample_range": 4.0, "set_alpha_to_one": False},
        [{}, {"num_steps": 6}, {"sampler": "euler_a", "num_steps": 5}, {"sampler": "lcm"}],
    ),
    "a solver with thresholds": (
        {"sampler": "DPMSolverMultistepScheduler", "thresholding": True},
        [{}, {"num_steps": 6}, {"sampler": "euler_a", "num_steps": 5}, {"sampler": "unipc"}],
    ),
    "guidance-distilled": (
        {"time_cond_proj_dim": 8},
        [{"guidance_scale": 8.0}, {"guidance_scale": 0.0}, {"guidance_scale": 3.0, "guidance_rescale": 0.7}],
    ),
    "consistency, guidance-distilled": (
        {"sampler": "LCMScheduler", "time_cond_proj_dim": 8},
        [{"guidance_scale": 8.0, "num_steps": steps} for steps in (1, 2, 4)],
    ),
    "consistency": (
        {"sampler": "LCMScheduler"},
        [{"guidance_scale": scale, "num_steps": steps} for scale, steps in ((0.0, 1), (1.0, 4), (1.5, 8))],
    ),
    "Turbo": (
        {"sampler": "EulerAncestralDiscreteScheduler", "timestep_spacing": "trailing", "steps_offset": 0},
        [{"guidance_scale": 0.0, "num_steps": steps} for steps in (1, 2, 4)],
    ),
    "Lightning": (
        {"timestep_spacing": "trailing", "steps_offset": 0},
        [{"guidance_scale": 0.0, "num_steps": steps} for steps in (1, 2, 3, 4)],
    ),
    "the empty text for no negative prompt": (
        {"force_zeros": False},
        [{"negative_prompt": None}, {"negative_prompt": ""}, {"negative_prompt": "rain"}],
    ),
    "a VAE without statistics": ({"vae": {"latents_mean": None, "latents_std": None}}, [{}]),
}


@pytest.fixture(scope="module", params=MODELS.values(), ids=list(MODELS))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    settings, requests = request.param
    return save_model(tmp_path_factory, settings, requests)


def test_a_model(model: Model, batching: str, load_engine: LoadEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = load_engine(model.folder, batching=batching)
    joins = joining(model.requests[:1], model.requests[1:])
    driver = assert_equals_lone_calls(engine, joins, model.oracle, monkeypatch)
    if engine.info.guidance_rows == 1:
        assert all(step.num_rows == len(step.outputs) for step in driver.steps)


def test_a_vae_of_ones_own(
    batching: str,
    tiny_sdxl: Path,
    tiny_oracle: Oracle,
    load_engine: LoadEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vae = save_vae(tmp_path, scaling_factor=0.3, latents_mean=None, latents_std=None)
    joins = joining([{}])
    engine = load_engine(tiny_sdxl, batching=batching, vae=str(vae))
    driver = assert_equals_lone_calls(engine, joins, Oracle(tiny_sdxl, vae=vae), monkeypatch)
    image = driver.traces["0/0"].image
    assert image is not None
    assert distinct([image, tiny_oracle.run(joins[0][0].params).image])


def test_a_sampler_chosen_at_start(
    batching: str, load_engine: LoadEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here in place of one that is not known."""
    folder = save_tiny_sdxl(tmp_path, sampler="HeunDiscreteScheduler")
    engine = load_engine(folder, batching=batching, sampler="euler_a")
    assert (engine.info.sampler, engine.info.samplers) == ("euler_a", SAMPLERS)
    joins = joining([{}, {"sampler": "euler"}])
    assert_equals_lone_calls(engine, joins, Oracle(folder, sampler="euler_a"), monkeypatch)
