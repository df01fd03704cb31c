"""Latents to pixels, for the full VAE and the tiny one alike."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from scheduler.engine import Pixels

CHUNK_LATENT_PIXELS = 128 * 128  # decoded at once by the full VAE: one picture of 1024x1024, sixteen of 256x256


def decode(vae: Any, latents: Tensor) -> list[Pixels]:
    """[n, 4, h/8, w/8] fp32 UNet-space latents -> n of [h, w, 3] uint8, rounded as the pipeline rounds."""
    images = vae.decode(_to_vae_space(vae.config, latents).to(vae.dtype), return_dict=False)[0]
    levels = (images.float() / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8)
    return list(levels.permute(0, 2, 3, 1).contiguous().cpu().numpy())


def decode_chunked(vae: Any, latents: Tensor) -> list[Pixels]:
    """The same in chunks, because the full VAE takes gigabytes for a picture of 1024x1024."""
    return [image for chunk in _chunks(latents) for image in decode(vae, chunk)]


def _chunks(latents: Tensor) -> Sequence[Tensor]:
    height, width = latents.shape[-2:]
    return torch.split(latents, max(1, CHUNK_LATENT_PIXELS // (height * width)))


def _to_vae_space(config: Any, latents: Tensor) -> Tensor:
    """Undo the normalisation of the UNet's latents: by channel where the VAE has statistics, else by one factor.

    A tiny VAE reads UNet-space latents as they are: it has no statistics and a scaling factor of 1.
    """
    latents = latents / config.scaling_factor
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean is None or std is None:
        return latents
    return latents * latents.new_tensor(std).view(1, -1, 1, 1) + latents.new_tensor(mean).view(1, -1, 1, 1)
