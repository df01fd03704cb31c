import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

import models.postcard.train
from models.postcard.evaluate import WEIGHTS, Evaluation, weight_bytes
from models.postcard.export import PREVIEW_FOLDER
from models.postcard.judge import judge
from models.postcard.latents import to_unet_space
from models.postcard.parts import AutoencoderTiny, StableDiffusionXLPipeline
from models.postcard.vae import to_tensor

MODELS = Path(models.postcard.train.__file__).parents[1]


@pytest.fixture(scope="module")
def shipped() -> Evaluation:
    pipeline = StableDiffusionXLPipeline.from_pretrained(WEIGHTS, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    tiny = AutoencoderTiny.from_pretrained(WEIGHTS / PREVIEW_FOLDER, dtype=torch.float32)
    return Evaluation(pipeline, tiny, WEIGHTS, captions=1, batch=1)


def paint(shipped: Evaluation, prompt: str, width: int = 256, height: int = 256) -> np.ndarray:
    pictures = shipped.paint([prompt], [torch.Generator().manual_seed(1)], 8, width, height)
    picture: np.ndarray = pictures[0]
    return picture


def test_the_weights_weigh_at_most_25_megabytes() -> None:
    assert 5e6 < weight_bytes(WEIGHTS) <= 25e6


def test_there_is_one_model_under_models() -> None:
    assert [path.parent for path in MODELS.rglob("model_index.json")] == [WEIGHTS]


def test_the_weights_are_half_precision_without_a_variant() -> None:
    files = list(WEIGHTS.rglob("*.safetensors"))
    assert len(files) == 5
    for path in files:
        assert "fp16" not in path.name
        with safe_open(path, "pt") as weights:
            kinds = {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118
        assert kinds <= {"F16", "I64"}


def test_the_text_encoders_know_the_end_of_a_text(shipped: Evaluation) -> None:
    end = shipped.pipeline.tokenizer.eos_token_id
    for folder in ("text_encoder", "text_encoder_2"):
        assert json.loads((WEIGHTS / folder / "config.json").read_text())["eos_token_id"] == end


def test_the_noise_schedule_suits_a_sampler_made_from_it() -> None:
    schedule = json.loads((WEIGHTS / "scheduler" / "scheduler_config.json").read_text())
    assert schedule["prediction_type"] == "v_prediction"
    assert schedule["timestep_spacing"] == "trailing"
    assert schedule["clip_sample"] is False
    assert schedule["set_alpha_to_one"] is False


def test_the_codec_states_its_latents_statistics(shipped: Evaluation) -> None:
    config = shipped.pipeline.vae.config
    assert len(config.latents_mean) == len(config.latents_std) == 4
    assert config.scaling_factor == 1.0


def test_a_red_house_is_red_in_8_steps(shipped: Evaluation) -> None:
    picture = paint(shipped, "a red house in a green field under a blue sky")
    assert judge(picture, "house").colour == "red"


def test_a_blue_sail_is_blue_in_8_steps(shipped: Evaluation) -> None:
    picture = paint(shipped, "a beautiful sunset over the sea, with a boat with a blue sail")
    assert judge(picture, "boat").colour == "blue"


def test_pictures_need_not_be_square(shipped: Evaluation) -> None:
    picture = paint(shipped, "a red house in a green field under a blue sky", width=320, height=192)
    assert picture.shape == (192, 320, 3)


def test_the_preview_decoder_agrees_with_the_codec(shipped: Evaluation) -> None:
    reconstructed = {row.what: row for row in shipped.reconstruction(count=4)}
    assert reconstructed["reconstruction by the codec"].passed
    assert reconstructed["reconstruction by the preview decoder"].passed


def test_the_preview_decoder_is_small(shipped: Evaluation) -> None:
    assert shipped.tiny_gigaflops() <= 1


def test_unet_space_latents_are_normal(shipped: Evaluation) -> None:
    from models.postcard.draw import picture

    images = to_tensor(np.stack([picture(seed)[1] for seed in range(4)]))
    with torch.no_grad():
        latents = to_unet_space(shipped.pipeline.vae, shipped.pipeline.vae.encode(images).latent_dist.mode())
    assert 0.5 < float(latents.std()) < 2
