"""Every number of the training in one place: sizes of the networks, lengths of the stages, seeds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    """A run of UNet steps on latents of some sizes: (rows, columns) of 8x8 pixels, one size a batch."""

    until: float  # share of the stage's steps at which the phase ends
    batch_size: int
    sizes: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Recipe:
    """What `train.py` does. Steps are optimiser steps; learning rates are peaks of a cosine decay."""

    seed: int = 0

    vae_channels: tuple[int, ...] = (16, 32, 64, 64)
    vae_norm_groups: int = 8
    vae_steps: int = 3_200
    vae_learning_rate: float = 1.5e-3
    vae_pictures: int = 10_000
    vae_crop: int = 64
    vae_batch_pixels: int = 16 * 64 * 64

    latent_statistics: int = 256  # pictures measured for the latents' means and deviations

    tiny_channels: int = 16
    tiny_blocks: tuple[int, ...] = (3, 3, 1, 0)
    tiny_steps: int = 1_200
    tiny_learning_rate: float = 2e-3

    unet_channels: tuple[int, ...] = (64, 96, 160)
    unet_head_channels: int = 32
    unet_norm_groups: int = 16
    unet_steps: int = 4_100
    unet_learning_rate: float = 1.2e-3
    unet_phases: tuple[Phase, ...] = (
        Phase(0.38, 32, ((16, 16),)),
        Phase(0.76, 16, ((32, 32),)),
        Phase(1.0, 16, ((32, 32), (24, 24), (32, 32), (24, 32), (32, 24), (40, 40), (32, 32), (40, 24), (24, 40))),
    )
    square_latents: tuple[tuple[int, int], ...] = ((16, 6_000), (32, 3_000))  # side, pictures
    other_latents: int = 320  # pictures of every other size
    text_width: int = 96
    text_layers: int = 3
    drop_text: float = 0.1
    foreign_text: float = 0.08
    ema_decay: float = 0.998

    @classmethod
    def toy(cls) -> Recipe:
        """Seconds instead of hours: same parts and code, too small to paint."""
        return cls(
            vae_channels=(8, 8, 8, 8),
            vae_steps=6,
            vae_pictures=4,
            vae_crop=32,
            vae_batch_pixels=2 * 32 * 32,
            tiny_channels=4,
            tiny_blocks=(1, 1, 1, 0),
            tiny_steps=4,
            unet_channels=(16, 16, 32),
            unet_head_channels=8,
            unet_norm_groups=8,
            unet_steps=6,
            unet_phases=(Phase(0.5, 2, ((8, 8),)), Phase(1.0, 2, ((8, 8), (8, 16)))),
            square_latents=((8, 4),),
            other_latents=4,
            latent_statistics=4,
            text_width=16,
            text_layers=1,
        )
