"""What SDXL costs, counted, and what others published: the figures that ours stand beside."""

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.lab import unet_inputs
from benchmarks.tables import table

STEPS = 20
"""Of the published figures, all for 1024x1024 with guidance."""
BF16_GOAL = 1.7
"""Images/s at 1024x1024: 60 % of what 790 TFLOP/s allow."""
ROW_TFLOP = {512: 1.59, 768: 3.64, 1024: 6.76, 1536: 17.3}
"""Of one UNet row by the side of the picture, counted with `count_row`."""
DECODE_TFLOP = 10.5
"""Of the full VAE for one picture of 1024x1024."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A published figure. `speed` in words, as it was published."""

    what: str
    speed: str
    source: str


_MLCOMMONS = "https://mlcommons.org/benchmarks/inference-datacenter/"
MLPERF = f"MLPerf Inference v5.1, {_MLCOMMONS}"
MLPERF_CLOSED = f"MLPerf Inference v5.1, closed division, {_MLCOMMONS}"
ANCHORS = (
    Anchor("H200, offline: FP8 UNet, INT8 VAE, TensorRT, UNet batch of 64", "2.40 images/s", MLPERF_CLOSED),
    Anchor("H200, server: the same, UNet batch of 16", "2.30 images/s; p50 4.7 s, p99 10.7 s", MLPERF_CLOSED),
    Anchor("H100, FP8, by TheStage", "2.26 images/s", MLPERF),
    Anchor("B200", "3.97 images/s", MLPERF),
    Anchor("H100, batch of 1, 30 steps", "1.47 s an image", "TensorRT, https://github.com/NVIDIA/TensorRT"),
    Anchor(
        "A100, batch of 1, 30 steps: fp32, bf16, SDPA, compile, fused QKV, int8",
        "7.36, 4.63, 3.32, 2.54, 2.52, 2.43 s an image",
        "diffusion-fast, https://github.com/huggingface/diffusion-fast",
    ),
)
BEST_PUBLISHED = 2.40
"""Images/s of one H200 at 1024x1024 and 20 steps."""


def limit(tflops: float) -> float:
    """TFLOP/s -> images/s at 1024x1024, 20 steps with guidance, if nothing but counted arithmetic took time."""
    return tflops / (2 * STEPS * ROW_TFLOP[1024] + DECODE_TFLOP)


def anchors_table() -> str:
    return table(
        ("published, 1024x1024", "speed", "source"), [(each.what, each.speed, each.source) for each in ANCHORS]
    )


def limits_table() -> str:
    rows = [(f"UNet, one row, {side}x{side}", f"{count:.2f}") for side, count in ROW_TFLOP.items()]
    image = 2 * STEPS * ROW_TFLOP[1024] + DECODE_TFLOP
    whole = (f"a picture of 1024x1024: {2 * STEPS} rows and the full VAE", f"{image:.0f}")
    return table(("work", "TFLOP"), [*rows, ("the full VAE, 1024x1024", f"{DECODE_TFLOP:.1f}"), whole])


def count_row(unet: Any, latent_side: int) -> float:
    """FLOP of one row of such a UNet, counted on shapes without computing anything."""
    with torch.device("meta"):
        shapes = type(unet).from_config(unet.config)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        shapes(**unet_inputs(shapes, 1, latent_side))
    return float(counter.get_total_flops())


def count_decode(vae: Any, latent_side: int) -> float:
    """FLOP of such a decoder for one picture."""
    with torch.device("meta"):
        shapes = type(vae).from_config(vae.config)
    latents = torch.empty(1, vae.config.latent_channels, latent_side, latent_side, device="meta")
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        shapes.decode(latents, return_dict=False)
    return float(counter.get_total_flops())
