"""Previews: the tiny VAE's picture, or a smaller one of the same decoder where a smaller one is asked for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from PIL import Image
from torch import Tensor

from scheduler.engine import Pixels
from scheduler.postcard import bundled_model
from scheduler.sdxl.preview import PreviewDecoder
from tests.sdxl.drive import make_request
from tests.sdxl.oracle import Oracle, largest_difference

X0 = torch.randn(3, 4, 8, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def inference_mode() -> Iterator[None]:
    with torch.inference_mode():
        yield


def load_tiny_vae(folder: Path) -> Any:
    load: Any = AutoencoderTiny.from_pretrained
    return load(folder, subfolder="preview_vae", dtype=torch.float32)


def decoded_without(tiny_vae: Any, x0: Tensor, num_upsamplings: int) -> Pixels:
    """By the decoder's definition, layer by layer, the last upsamplings left out."""
    layers = list(tiny_vae.decoder.layers)
    upsamplings = [index for index, layer in enumerate(layers) if isinstance(layer, torch.nn.Upsample)]
    left_out = upsamplings[len(upsamplings) - num_upsamplings :]
    features = 3 * torch.tanh(x0 / 3)
    for layer in [layer for index, layer in enumerate(layers) if index not in left_out]:
        features = layer(features)
    return (features.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize(
    ("width", "height", "preview_size", "num_halvings"),
    [
        (256, 256, 512, 0),
        (256, 256, 256, 0),
        (256, 256, 255, 0),
        (256, 256, 129, 0),
        (256, 256, 128, 1),
        (256, 256, 65, 1),
        (256, 256, 64, 2),
        (256, 256, 16, 2),
        (192, 320, 160, 1),
        (72, 64, 36, 1),
        (72, 64, 18, 2),
    ],
)
def test_sides_are_halved_as_far_as_the_preview_allows(
    width: int, height: int, preview_size: int, num_halvings: int, tiny_sdxl: Path
) -> None:
    params = make_request(width=width, height=height, preview_size=preview_size).params
    assert PreviewDecoder(load_tiny_vae(tiny_sdxl)).num_halvings(params) == num_halvings


@pytest.mark.parametrize("num_halvings", [0, 1, 2])
def test_a_smaller_preview_leaves_out_the_last_upsamplings(num_halvings: int, tiny_sdxl: Path) -> None:
    decoder = PreviewDecoder(load_tiny_vae(tiny_sdxl))
    pixels, is_valid = decoder.decode(X0, num_halvings)
    assert pixels.shape == (3, 64 >> num_halvings, 96 >> num_halvings, 3)
    expected = decoded_without(load_tiny_vae(tiny_sdxl), X0, num_halvings)
    assert largest_difference(pixels.numpy(), expected) <= 1
    assert is_valid.all()


def test_smaller_decoders_share_their_weights(tiny_sdxl: Path) -> None:
    tiny_vae = load_tiny_vae(tiny_sdxl)
    decoder = PreviewDecoder(tiny_vae)
    tiny_vae.decoder.layers[-1].weight.zero_()
    tiny_vae.decoder.layers[-1].bias.fill_(0.25)
    grey = round(0.25 * 255)
    for num_halvings in range(3):
        assert np.unique(decoder.decode(X0, num_halvings).pixels.numpy()).tolist() == [grey]


@pytest.mark.parametrize(("num_halvings", "least_decibels"), [(1, 28.0), (2, 22.0)])
def test_a_smaller_preview_of_postcard_looks_like_the_full_one_shrunk(
    num_halvings: int, least_decibels: float, postcard_oracle: Oracle
) -> None:
    request = make_request(prompt="a red house in a green field", width=256, height=256, num_steps=6, seed=5)
    x0 = postcard_oracle.run(request.params).x0[2]
    full = Image.fromarray(postcard_oracle.preview(x0))
    small = PreviewDecoder(load_tiny_vae(bundled_model())).decode(x0, num_halvings).pixels[0].numpy()
    shrunk = full.resize((256 >> num_halvings,) * 2, Image.Resampling.BICUBIC)
    assert decibels(small, np.asarray(shrunk)) > least_decibels


def decibels(actual: Pixels, expected: Pixels) -> float:
    """Peak signal to noise."""
    error = np.square(actual.astype(float) - expected.astype(float)).mean()
    return float(10 * np.log10(255**2 / error))
