"""Pixels as the pipeline makes them, from the full VAE and the tiny one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, StableDiffusionXLPipeline
from torch import nn

from scheduler.postcard import bundled_model
from scheduler.sdxl.decode import decode, tiled
from tests.sdxl.drive import make_request
from tests.sdxl.oracle import Oracle, largest_difference

LATENTS = torch.randn(5, 4, 8, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def inference_mode() -> Iterator[None]:
    with torch.inference_mode():
        yield


def load_vae(folder: Path) -> Any:
    load: Any = AutoencoderKL.from_pretrained
    return load(folder, subfolder="vae")


@pytest.mark.parametrize(
    "statistics", [{}, {"latents_mean": [0.0, 0.5, 1.0, 1.5], "latents_std": [0.5, 1.0, 2.0, 3.0]}]
)
def test_the_full_vae_decodes_as_in_the_pipeline(tiny_sdxl: Path, statistics: dict[str, Any]) -> None:
    vae = load_vae(tiny_sdxl)
    vae.register_to_config(**({"latents_mean": None, "latents_std": None} | statistics))
    load: Any = StableDiffusionXLPipeline.from_pretrained
    pipe = load(tiny_sdxl, vae=vae)
    pipe.set_progress_bar_config(disable=True)
    # At guidance 0 and one step, the latents that come out of the call are made into the picture that comes out.
    options = {"num_inference_steps": 1, "guidance_scale": 0.0, "width": 96, "height": 64, "latents": LATENTS[:1]}
    latents = pipe("", output_type="latent", **options).images
    image = pipe("", output_type="pil", **options).images[0]
    assert largest_difference(decode(vae, latents).pixels[0].numpy(), np.asarray(image)) <= 1


def test_the_tiny_vae_reads_latents_as_they_are(tiny_sdxl: Path) -> None:
    load: Any = AutoencoderTiny.from_pretrained
    tiny_vae = load(tiny_sdxl, subfolder="preview_vae")
    pixels = decode(tiny_vae, LATENTS).pixels
    assert (pixels.shape, pixels.dtype) == ((5, 64, 96, 3), torch.uint8)
    expected = tiny_vae.decode(LATENTS).sample.clamp(-1, 1).add(1).mul(127.5).permute(0, 2, 3, 1)
    assert (pixels - expected).abs().max() < 0.51  # no more than rounding


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_latents_that_are_not_numbers_are_told(tiny_sdxl: Path, number: float) -> None:
    latents = LATENTS.clone()
    latents[1, 2, 3, 4] = number
    assert decode(load_vae(tiny_sdxl), latents).is_valid.tolist() == [True, False, True, True, True]


@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 12), (9, 11), (24, 16), (10, 34)])
def test_tiles_are_smaller_and_make_up_the_picture(tiny_sdxl: Path, height: int, width: int) -> None:
    latents = torch.randn(1, 4, height, width, generator=torch.Generator().manual_seed(1))
    vae = load_vae(tiny_sdxl)
    sizes = note_sizes(vae.decoder)
    assert decode(tiled(vae, latents), latents).pixels.shape == (1, 8 * height, 8 * width, 3)
    assert len(sizes) > 1
    assert max(sizes) < height * width
    assert not vae.use_tiling  # the VAE itself goes on as it was


def test_tiles_give_nearly_the_same_picture(postcard_oracle: Oracle) -> None:
    params = make_request(prompt="a red house in a green field", width=256, height=192, num_steps=4, seed=5).params
    latents = postcard_oracle.run(params).latents[-1]
    vae = load_vae(bundled_model())
    whole, in_tiles = (decode(each, latents).pixels.float() for each in (vae, tiled(vae, latents)))
    assert (in_tiles - whole).abs().mean() < 10  # levels of 255; each tile is normalised by itself


def note_sizes(module: nn.Module) -> list[int]:
    """The size of each input that the module gets from now on."""
    sizes: list[int] = []
    module.register_forward_pre_hook(lambda _, args: sizes.append(args[0][0, 0].numel()))
    return sizes
