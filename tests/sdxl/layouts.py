"""The ways in which a model's weights are laid out in folders, with copies that can be told apart."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers as typed_diffusers
import torch

diffusers: Any = typed_diffusers  # its constructors have no types

PARTS = ("text_encoder", "text_encoder_2", "unet", "vae")


def save_weights(
    model: Path,
    folder: Path,
    *,
    parts: Sequence[str] = PARTS,
    variant: str | None = None,
    shard_size: str = "10GB",
    factor: float = 1.0,
) -> None:
    """Adds weights of some of a model's parts to a folder, in half precision, multiplied by a power of two."""
    pipe = diffusers.StableDiffusionXLPipeline.from_pretrained(model, dtype=torch.float16)
    for part in parts:
        module = getattr(pipe, part)
        with torch.no_grad():
            for weight in module.parameters():
                weight.mul_(factor)
        module.save_pretrained(folder / part, variant=variant, max_shard_size=shard_size)


def factors(pipe: Any, model: Path) -> dict[str, float]:
    """By what the weights of each part differ from the model's."""
    original = diffusers.StableDiffusionXLPipeline.from_pretrained(model, dtype=torch.float16)
    return {part: _factor(getattr(pipe, part), getattr(original, part)) for part in PARTS}


def _factor(module: torch.nn.Module, original: torch.nn.Module) -> float:
    """Each weight times that is the other's, up to rounding to eight bits."""
    weights = torch.cat([weight.detach().flatten().float() for weight in module.parameters()])
    originals = torch.cat([weight.detach().flatten().float() for weight in original.parameters()])
    factor = round(float(weights.abs().max() / originals.abs().max()), 1)
    torch.testing.assert_close(weights, originals * factor, rtol=2**-8, atol=1e-6)
    return factor
