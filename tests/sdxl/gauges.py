"""A stand-in for the memory of a device that can be measured."""

from typing import Any

import pytest
from diffusers import AutoencoderKL, UNet2DConditionModel

RESTING = 1_000_000
STEP_BYTES = 5_000
BYTES_PER_ROW_PIXEL = 10
BYTES_PER_DECODED_PIXEL = 7
LATENT_SIDE = 8  # pixels of the picture to one of the latents


class CountingGauge:
    """Counts what the UNet and the full VAE would take: a fixed number of bytes for each pixel."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, available: int = 100_000_000) -> None:
        self._available = available
        self._peak = 0
        self._count(monkeypatch, UNet2DConditionModel, "forward", STEP_BYTES, BYTES_PER_ROW_PIXEL)
        self._count(monkeypatch, AutoencoderKL, "decode", 0, BYTES_PER_DECODED_PIXEL)

    def available(self) -> int:
        return self._available

    def in_use(self) -> int:
        return RESTING

    def reset_peak(self) -> None:
        self._peak = RESTING

    def peak(self) -> int:
        return self._peak

    def _count(self, monkeypatch: pytest.MonkeyPatch, kind: Any, name: str, fixed: int, per_pixel: int) -> None:
        call = getattr(kind, name)

        def counted(module: Any, latents: Any, *args: Any, **kwargs: Any) -> Any:
            num_pixels = latents[:, 0].numel() * LATENT_SIDE**2
            self._peak = max(self._peak, RESTING + fixed + per_pixel * num_pixels)
            return call(module, latents, *args, **kwargs)

        monkeypatch.setattr(kind, name, counted)
