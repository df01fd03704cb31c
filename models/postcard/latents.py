"""The training pictures as latents, each encoded once and kept in files.

UNet-space latents have mean 0 and deviation 1 in each channel; the codec's own are `z * std + mean`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.postcard.draw import picture
from models.postcard.parts import AutoencoderKL
from models.postcard.recipe import Recipe
from models.postcard.training import Clock
from models.postcard.vae import to_tensor

PIXELS = 8  # side of one latent, in pixels
FILE_ROWS = 12 * 2**20 // (4 * 32 * 32 * 2)  # latents of 32x32 in a file of 12 MiB
Size = tuple[int, int]


@dataclass
class LatentStore:
    """Latents by size (rows, columns); row `i` shows scene number `i`."""

    recipe: Recipe
    vae: AutoencoderKL
    work: Path

    def __post_init__(self) -> None:
        self._loaded: dict[Size, Tensor] = {}

    def count(self, size: Size) -> int:
        """Pictures kept of a size."""
        counts = {(side, side): count for side, count in self.recipe.square_latents}
        return counts.get(size, self.recipe.other_latents)

    def get(self, size: Size) -> Tensor:
        """-> [count, 4, rows, columns] float16, UNet space. All files of the size must have been written."""
        if size not in self._loaded:
            shards = [load_file(path)["latents"] for _, path in self._files(size)]
            self._loaded[size] = torch.cat(shards)
        return self._loaded[size]

    def fill(self, size: Size, clock: Clock) -> bool:
        """Encode what is missing of a size -> whether all is there."""
        for seeds, path in self._files(size):
            if path.exists():
                continue
            latents = []
            for start in range(seeds.start, seeds.stop, 8):
                clock.wait_while_paused()
                if clock.expired():
                    return False
                latents.append(self._encode(range(start, min(start + 8, seeds.stop)), size))
            path.parent.mkdir(exist_ok=True)
            save_file({"latents": torch.cat(latents).contiguous()}, path)
            print(f"latents {size[0]}x{size[1]}: {seeds.stop}/{self.count(size)}", flush=True)
        return True

    def _files(self, size: Size) -> Iterator[tuple[range, Path]]:
        count = self.count(size)
        for start in range(0, count, FILE_ROWS):
            path = self.work / "latents" / f"{size[0]}x{size[1]}-{start:05}.safetensors"
            yield range(start, min(start + FILE_ROWS, count)), path

    def _encode(self, seeds: range, size: Size) -> Tensor:
        height, width = size[0] * PIXELS, size[1] * PIXELS
        images = to_tensor(np.stack([picture(seed, width, height)[1] for seed in seeds]))
        return to_unet_space(self.vae, encode(self.vae, images)).half().cpu().contiguous()


@torch.no_grad()
def encode(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """[n, 3, h, w] in -1..1 -> the codec's latents [n, 4, h/8, w/8]."""
    device = next(vae.parameters()).device
    with torch.autocast(device.type, torch.bfloat16):
        return cast(Tensor, vae.encode(images.to(device)).latent_dist.mode()).float()


def set_statistics(vae: AutoencoderKL, pictures: int, kept: Path) -> None:
    """Put the latents' mean and deviation by channel into the codec's configuration: measured once, then `kept`."""
    if not kept.exists():
        images = (to_tensor(picture(seed)[1][None]) for seed in range(pictures))
        channels = torch.cat([encode(vae, image).cpu() for image in images]).transpose(0, 1).flatten(1)
        measured = {"latents_mean": channels.mean(1).tolist(), "latents_std": channels.std(1).tolist()}
        kept.write_text(json.dumps(measured))
    vae.register_to_config(**json.loads(kept.read_text()))


def to_unet_space(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """The codec's latents -> UNet space."""
    mean, std = _statistics(vae, latents)
    return (latents - mean) / std


def from_unet_space(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """UNet space -> the codec's latents."""
    mean, std = _statistics(vae, latents)
    return latents * std + mean


def _statistics(vae: AutoencoderKL, like: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = (
        torch.tensor(values).view(1, 4, 1, 1).to(like) for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    return mean, std
