"""Latents to pixels, for the full VAE and the tiny one alike."""

import copy
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Decoded(NamedTuple):
    """`pixels` [n, h, w, 3] uint8; `is_valid` [n], whether the latents were numbers: others come out black."""

    pixels: Tensor
    is_valid: Tensor


def decode(vae: Any, latents: Tensor) -> Decoded:
    """[n, 4, h/8, w/8] fp32 UNet-space latents -> pixels, rounded as the pipeline rounds. Waits for no device."""
    images = vae.decode(_to_vae_space(vae.config, latents).to(vae.dtype), return_dict=False)[0]
    levels = (images.float() / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8)
    return Decoded(levels.permute(0, 2, 3, 1).contiguous(), latents.isfinite().flatten(1).all(1))


def lay_out(vae: Any) -> None:
    """On a CPU, the tiny VAE takes half the time with its channels last, and the full one for one picture 3/4."""
    if vae.device.type == "cpu":
        vae.to(memory_format=torch.channels_last)


def tiled(vae: Any, latents: Tensor) -> Any:
    """The same VAE for one picture that it has no memory for: it decodes tiles of half its longest side.

    The tiles overlap and are blended, but each is normalised by itself: colours are slightly off.
    """
    tiled_vae = copy.copy(vae)  # the weights are shared, the settings are its own
    tiled_vae.enable_tiling()
    tiled_vae.tile_latent_min_size = 4 * math.ceil(max(latents.shape[-2:]) / 8)  # of which diffusers overlaps a quarter
    tiled_vae.tile_sample_min_size = tiled_vae.tile_latent_min_size * 2 ** (len(vae.config.block_out_channels) - 1)
    return tiled_vae


def _to_vae_space(config: Any, latents: Tensor) -> Tensor:
    """Undo the normalisation of the UNet's latents: by channel where the VAE has statistics, else by one factor.

    A tiny VAE reads UNet-space latents as they are: it has no statistics and a scaling factor of 1.
    """
    latents = latents / config.scaling_factor
    means, stds = config.get("latents_mean"), config.get("latents_std")
    if means is None or stds is None:
        return latents
    # Number by number: to bring them to the device as tensors would wait for it.
    channels = [latents[:, i] * std + mean for i, (mean, std) in enumerate(zip(means, stds, strict=True))]
    return torch.stack(channels, dim=1)
