"""diffusers' classes. It resolves them lazily, so a type checker sees none of their members; to it they are `Any`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:

    class AutoencoderKL(Any): ...  # type: ignore[misc]

    class AutoencoderTiny(Any): ...  # type: ignore[misc]

    class EulerDiscreteScheduler(Any): ...  # type: ignore[misc]

    class StableDiffusionXLPipeline(Any): ...  # type: ignore[misc]

    class UNet2DConditionModel(Any): ...  # type: ignore[misc]

else:
    from diffusers import (
        AutoencoderKL,
        AutoencoderTiny,
        EulerDiscreteScheduler,
        StableDiffusionXLPipeline,
        UNet2DConditionModel,
    )

__all__ = [
    "AutoencoderKL",
    "AutoencoderTiny",
    "EulerDiscreteScheduler",
    "StableDiffusionXLPipeline",
    "UNet2DConditionModel",
]
