"""The preview decoder: an AutoencoderTiny that turns UNet-space latents straight into pictures."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from models.postcard.draw import picture
from models.postcard.latents import PIXELS, LatentStore
from models.postcard.parts import AutoencoderTiny
from models.postcard.recipe import Recipe
from models.postcard.vae import reconstruction_loss, to_tensor

CROP = 16  # latents
BATCH = 6
LATENT_NOISE = 0.05  # deviation of noise put on the latents, which a UNet never predicts exactly


def new_tiny(recipe: Recipe) -> AutoencoderTiny:
    """An untrained decoder. The class insists on an encoder: ours is as small as can be and stays untrained."""
    width = (recipe.tiny_channels,) * len(recipe.tiny_blocks)
    return AutoencoderTiny(
        encoder_block_out_channels=(4,) * len(recipe.tiny_blocks),
        decoder_block_out_channels=width,
        num_encoder_blocks=(1,) * len(recipe.tiny_blocks),
        num_decoder_blocks=recipe.tiny_blocks,
        latent_channels=4,
        scaling_factor=1.0,
    )


class TinyStage:
    """Distils the codec: its latents in, the pictures they stand for out."""

    name = "tiny"

    def __init__(self, recipe: Recipe, store: LatentStore, device: torch.device) -> None:
        self.recipe, self.store, self.device = recipe, store, device
        self.steps, self.learning_rate, self.ema_decay = recipe.tiny_steps, recipe.tiny_learning_rate, 0.998
        torch.manual_seed(recipe.seed + 2)
        self.network = new_tiny(recipe).to(device)
        self.network.encoder.requires_grad_(False)
        self.size = (recipe.square_latents[-1][0],) * 2
        self._drawn: dict[int, np.ndarray] = {}

    def loss(self, step: int) -> Tensor:
        """-> scalar."""
        rng = np.random.default_rng((self.recipe.seed, 2, step))
        latents, images = self._batch(rng, min(CROP, self.size[0]))
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(step))
        latents = (latents + LATENT_NOISE * noise).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            output = self.network.decode(latents).sample
        sharpness = min(1.0, max(0.0, step / self.steps - 0.25) / 0.25)
        return reconstruction_loss(output.float(), images.to(self.device), sharpness)

    def _batch(self, rng: np.random.Generator, crop: int) -> tuple[Tensor, Tensor]:
        latents, images = [], []
        for seed in rng.integers(self.store.count(self.size), size=BATCH):
            top, left = (int(value) for value in rng.integers(0, self.size[0] - crop + 1, 2))
            latents.append(self.store.get(self.size)[seed, :, top : top + crop, left : left + crop].float())
            rows, columns = (slice(at * PIXELS, (at + crop) * PIXELS) for at in (top, left))
            images.append(self._picture(int(seed))[rows, columns])
        return torch.stack(latents), to_tensor(np.stack(images))

    def _picture(self, seed: int) -> np.ndarray:
        if seed not in self._drawn:
            self._drawn[seed] = picture(seed, self.size[1] * PIXELS, self.size[0] * PIXELS)[1]
        return self._drawn[seed]
