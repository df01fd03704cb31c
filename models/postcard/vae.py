"""The picture codec: an AutoencoderKL of SDXL's layout, trained on drawn pictures.

[n, 3, h, w] in -1..1 <-> latents [n, 4, h/8, w/8].
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as nnf
from torch import Tensor

from models.postcard.draw import picture
from models.postcard.parts import AutoencoderKL
from models.postcard.recipe import Recipe

POOL_SIZES = ((256, 256), (256, 256), (128, 128), (256, 256), (192, 192), (128, 128))
KL_WEIGHT = 1e-6
COLOUR_POOL = 8


class Pictures:
    """Drawn pictures, kept once drawn. Picture `seed` has the size `POOL_SIZES[seed % 6]`."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._drawn: dict[int, np.ndarray] = {}

    def __getitem__(self, seed: int) -> np.ndarray:
        """-> [height, width, 3] uint8."""
        if seed not in self._drawn:
            self._drawn[seed] = picture(seed, *POOL_SIZES[seed % len(POOL_SIZES)])[1]
        return self._drawn[seed]

    def crops(self, rng: np.random.Generator, number: int, size: int) -> Tensor:
        """Random squares of random pictures at least that large -> [number, 3, size, size] in -1..1."""
        return to_tensor(np.stack([self._crop(rng, size) for _ in range(number)]))

    def _crop(self, rng: np.random.Generator, size: int) -> np.ndarray:
        whole = self[int(rng.integers(self.count))]
        while min(whole.shape[:2]) < size:
            whole = self[int(rng.integers(self.count))]
        middle = rng.random() < 0.5
        top, left = (
            int(room * (rng.uniform(0.25, 0.75) if middle else rng.random()) + 0.5)
            for room in (whole.shape[0] - size, whole.shape[1] - size)
        )
        return whole[top : top + size, left : left + size]


def to_tensor(pictures: np.ndarray) -> Tensor:
    """[n, h, w, 3] uint8 -> [n, 3, h, w] float in -1..1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pictures(images: Tensor) -> np.ndarray:
    """[n, 3, h, w] float in -1..1 -> [n, h, w, 3] uint8."""
    scaled = (images.detach().float().clamp(-1, 1) + 1) * 127.5
    return scaled.round().byte().permute(0, 2, 3, 1).cpu().numpy()


def psnr(one: Tensor, other: Tensor) -> float:
    """Peak signal-to-noise ratio of images in -1..1, in dB, averaged over the batch."""
    error = ((one.clamp(-1, 1) - other.clamp(-1, 1)) / 2).square().flatten(1).mean(1)
    return float((-10 * error.clamp_min(1e-10).log10()).mean())


def new_vae(recipe: Recipe) -> AutoencoderKL:
    """An untrained codec."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=recipe.vae_channels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=recipe.vae_norm_groups,
        sample_size=256,
        scaling_factor=1.0,
        force_upcast=False,
    )


class VaeStage:
    """Trains the codec on crops, and towards the end on whole pictures too, whose statistics differ."""

    name = "vae"

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        self.steps, self.learning_rate, self.ema_decay = recipe.vae_steps, recipe.vae_learning_rate, 0.998
        torch.manual_seed(recipe.seed)
        self.network = new_vae(recipe).to(device)
        self.pictures = Pictures(recipe.vae_pictures)

    def loss(self, step: int) -> Tensor:
        """-> scalar."""
        size = self._crop_size(step)
        number = max(1, self.recipe.vae_batch_pixels // size**2)
        rng = np.random.default_rng((self.recipe.seed, 1, step))
        images = self.pictures.crops(rng, number, size).to(self.device)
        generator = torch.Generator().manual_seed(step)
        with torch.autocast(self.device.type, torch.bfloat16):
            latents = self.network.encode(images).latent_dist
            noise = torch.randn(latents.mean.shape, generator=generator).to(self.device)
            output: Tensor = self.network.decode(latents.mean + latents.std * noise).sample
        sharpness = min(1.0, max(0.0, step / self.steps - 0.25) / 0.25)
        divergence: Tensor = latents.kl().mean()
        return reconstruction_loss(output.float(), images, sharpness) + KL_WEIGHT * divergence

    def _crop_size(self, step: int) -> int:
        """In the last third every fourth batch is of 128-pixel squares, every eighth of 256-pixel ones."""
        small = self.recipe.vae_crop
        if step < self.steps * 0.65 or step % 4:
            return small
        return small * (4 if step % 8 == 0 else 2)


def reconstruction_loss(output: Tensor, images: Tensor, sharpness: float) -> Tensor:
    """Squared error of pixels and of 8x-pooled colours; L1 and edge terms weighted by `sharpness` in 0..1."""
    error = output - images
    loss = 10 * error.square().mean() + 10 * nnf.avg_pool2d(error, COLOUR_POOL).square().mean()
    if sharpness > 0:
        edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        loss = loss + sharpness * (error.abs().mean() + edges)
    return loss
