"""The preview decoder: a tiny VAE that turns all rows due a preview into pixels at once."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from scheduler.engine import LoadError, Pixels
from scheduler.sdxl.decode import decode
from scheduler.sdxl.untyped import TinyVae

HUB_PREVIEW_MODEL = "madebyollin/taesdxl"
PREVIEW_SUBFOLDER = "preview_vae"


def decode_previews(tiny_vae: TinyVae, x0: Sequence[Tensor]) -> list[Pixels]:
    """n of [1, 4, h/8, w/8] fp32 x0 latents -> n of [h, w, 3] uint8, in one decode."""
    return decode(tiny_vae, torch.cat(list(x0))) if x0 else []


def find_preview_model(model: str, preview_model: str | None) -> tuple[str, str | None]:
    """Where the tiny VAE is: folder or hub id, and subfolder."""
    if preview_model is not None:
        return preview_model, None
    if (Path(model) / PREVIEW_SUBFOLDER).is_dir():
        return model, PREVIEW_SUBFOLDER
    if Path(model).is_dir():
        raise LoadError(
            f"the model {model} has no preview decoder: give one with --preview-model, for SDXL {HUB_PREVIEW_MODEL}"
        )
    return HUB_PREVIEW_MODEL, None


def check_fit(tiny_vae: TinyVae, num_channels: int, scale_factor: int) -> str | None:
    """Why the tiny VAE cannot read a model's latents, None if it can."""
    channels = tiny_vae.config.latent_channels
    if channels != num_channels:
        return f"it reads latents of {channels} channels, the model's have {num_channels}"
    with torch.inference_mode():
        decoded = tiny_vae.decode(torch.zeros(1, channels, 8, 8, dtype=tiny_vae.dtype)).sample
    if decoded.shape[-1] != 8 * scale_factor:
        return f"it enlarges latents {decoded.shape[-1] // 8} times, the model's VAE {scale_factor} times"
    return None
