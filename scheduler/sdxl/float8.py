"""Linear layers that multiply in float8, with a scale for each row of the input and of the weight.

About twice the arithmetic of bfloat16, where the hardware has it; the numbers keep 3 bits of mantissa
(https://arxiv.org/abs/2209.05433). Weights are rounded once, inputs at each call.
"""

from typing import Any

import torch
from torch import Tensor, nn

from scheduler.engine import describe

FLOAT8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FLOAT8).max
MULTIPLE = 16  # of which both sides of the weight must be
CAPABILITY = (8, 9)  # of NVIDIA cards that multiply in float8

multiply: Any = torch._scaled_mm  # untyped


class Float8Linear(nn.Module):
    """In place of an `nn.Linear`, whose weights are no longer needed."""

    weight: Tensor  # [in, out] float8, each column contiguous
    weight_scale: Tensor  # [1, out] fp32

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, scale = quantize(linear.weight.detach())
        self.register_buffer("weight", weight.t())
        self.register_buffer("weight_scale", scale.t())
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] bfloat16 -> [..., out]."""
        rows, scale = quantize(x.flatten(0, -2))
        result = multiply(
            rows,
            self.weight,
            scale_a=scale,
            scale_b=self.weight_scale,
            bias=self.bias,
            out_dtype=x.dtype,
            use_fast_accum=True,
        )
        unflat: Tensor = result.unflatten(0, x.shape[:-1])
        return unflat


def quantize(x: Tensor) -> tuple[Tensor, Tensor]:
    """[rows, n] -> the same in float8, with the [rows, 1] fp32 that each row is to be multiplied by."""
    x = x.float()
    scale = x.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / LARGEST
    return (x / scale).to(FLOAT8), scale


@torch.inference_mode()
def what_is_wrong(device: torch.device) -> str | None:
    """Why the device cannot multiply in float8, as PyTorch says; None where it can."""
    side = 8 * MULTIPLE
    linear = nn.Linear(side, side, device=device, dtype=torch.bfloat16)
    try:
        Float8Linear(linear)(torch.zeros(side, side, device=device, dtype=torch.bfloat16))
    except RuntimeError as error:
        return describe(error)
    return None


def use_float8(unet: nn.Module) -> None:
    """For the linear layers of the transformers: nearly all the multiplying, and none of the embedding of timesteps."""
    blocks = [module for module in unet.modules() if type(module).__name__ == "Transformer2DModel"]
    for parent in [module for block in blocks for module in block.modules()]:
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear) and not any(side % MULTIPLE for side in child.weight.shape):
                setattr(parent, name, Float8Linear(child))
