"""Pixels as the pipeline makes them, from the full VAE and the tiny one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, StableDiffusionXLPipeline

from scheduler.messages import WorkerConfig
from scheduler.sdxl import decode as decode_module
from scheduler.sdxl.decode import decode, decode_chunked
from scheduler.sdxl.preview import decode_previews
from scheduler.sdxl.results import Slice, report
from scheduler.sdxl.timing import Stopwatch
from scheduler.sdxl.weights import load_model
from tests.sdxl.drive import make_request
from tests.sdxl.oracle import largest_difference

LATENTS = torch.randn(5, 4, 8, 12, generator=torch.Generator().manual_seed(0))

pytestmark = pytest.mark.usefixtures("inference_mode")


@pytest.fixture
def inference_mode() -> Any:
    with torch.inference_mode():
        yield


@pytest.mark.parametrize(
    "statistics", [{}, {"latents_mean": [0.0, 0.5, 1.0, 1.5], "latents_std": [0.5, 1.0, 2.0, 3.0]}]
)
def test_the_full_vae_decodes_as_in_the_pipeline(tiny_sdxl: Path, statistics: dict[str, Any]) -> None:
    load: Any = AutoencoderKL.from_pretrained
    vae = load(tiny_sdxl, subfolder="vae")
    vae.register_to_config(**({"latents_mean": None, "latents_std": None} | statistics))
    load = StableDiffusionXLPipeline.from_pretrained
    pipe = load(tiny_sdxl, vae=vae)
    pipe.set_progress_bar_config(disable=True)
    # At guidance 0 and one step, the latents that come out of the call are made into the picture that comes out.
    options = {"num_inference_steps": 1, "guidance_scale": 0.0, "width": 96, "height": 64, "latents": LATENTS[:1]}
    latents = pipe("", output_type="latent", **options).images
    image = pipe("", output_type="pil", **options).images[0]
    assert largest_difference(decode(vae, latents)[0], np.asarray(image)) <= 1


def test_chunks_make_no_difference(tiny_sdxl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load: Any = AutoencoderKL.from_pretrained
    vae = load(tiny_sdxl, subfolder="vae")
    monkeypatch.setattr(decode_module, "CHUNK_LATENT_PIXELS", 2 * 8 * 12)
    whole, chunked = decode(vae, LATENTS), decode_chunked(vae, LATENTS)
    assert len(chunked) == 5
    assert all(largest_difference(one, other) <= 1 for one, other in zip(whole, chunked, strict=True))


def test_previews_are_the_tiny_vaes_pictures(tiny_sdxl: Path) -> None:
    load: Any = AutoencoderTiny.from_pretrained
    tiny_vae = load(tiny_sdxl, subfolder="preview_vae")
    previews = decode_previews(tiny_vae, torch.split(LATENTS, 1))
    assert [preview.shape for preview in previews] == [(64, 96, 3)] * 5
    for preview, latents in zip(previews, LATENTS, strict=True):
        expected = tiny_vae.decode(latents[None]).sample[0].clamp(-1, 1).add(1).mul(127.5).permute(1, 2, 0)
        assert np.abs(preview - expected.numpy()).max() < 0.51  # no more than rounding
    assert decode_previews(tiny_vae, []) == []


def test_latents_that_are_not_numbers_give_an_error_and_no_picture(tiny_sdxl: Path) -> None:
    model = load_model(WorkerConfig(model=str(tiny_sdxl), device="cpu", dtype="float32"), progress=lambda _: None)
    good, bad = LATENTS[:1], LATENTS[:1].index_fill(3, torch.tensor([3]), float("nan"))
    slices = [
        Slice(make_request(name, num_steps=1), steps_done=1, latents=latents, x0=latents, prompt_truncated=False)
        for name, latents in (("good", good), ("bad", bad))
    ]
    outputs = report(model, slices, Stopwatch(), num_rows=4).outputs
    assert [output.image is None for output in outputs] == [False, True]
    assert outputs[0].error is None
    assert "float32" in str(outputs[1].error)
