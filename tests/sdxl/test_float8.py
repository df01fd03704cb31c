"""Linear layers in float8."""

import math

import pytest
import torch
from torch import Tensor, nn

from scheduler.sdxl.float8 import Float8Linear, quantize, use_float8
from tests.models import diffusers


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def decibels(signal: Tensor, other: Tensor) -> float:
    """Signal to noise."""
    ratio = signal.float().square().sum() / (signal.float() - other.float()).square().sum()
    return 10 * math.log10(ratio)


def make_linear(bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(64, 48, bias=bias, dtype=torch.bfloat16)


def test_each_row_has_a_scale_of_its_own() -> None:
    x = random(5, 64) * torch.tensor([1e-4, 1, 10, 1e3, 1e6])[:, None]
    numbers, scale = quantize(x)
    assert (numbers.dtype, scale.shape) == (torch.float8_e4m3fn, (5, 1))
    assert torch.equal(numbers.float().abs().amax(1), torch.full((5,), 448.0))
    # 3 bits after the leading one: half of the last is a 16th of a number at most.
    assert ((numbers.float() * scale - x).abs() <= x.abs() / 16 + scale * 2**-10).all()


def test_a_row_of_zeros_stays_zero() -> None:
    numbers, scale = quantize(torch.zeros(1, 16))
    assert torch.equal(numbers.float() * scale, torch.zeros(1, 16))


@pytest.mark.usefixtures("needs_float8")
@torch.no_grad()
def test_a_layer_gives_nearly_the_same() -> None:
    x = random(2, 7, 64).bfloat16()
    for linear in (make_linear(), make_linear(bias=False)):
        result = Float8Linear(linear)(x)
        assert (result.shape, result.dtype) == ((2, 7, 48), torch.bfloat16)
        assert decibels(linear(x), result) > 28


@pytest.mark.usefixtures("needs_float8")
@torch.no_grad()
def test_no_row_sees_another() -> None:
    layer, x = Float8Linear(make_linear()), random(3, 64).bfloat16()
    louder = torch.cat([x[:2], 1e3 * x[2:]])
    assert torch.equal(layer(x)[:2], layer(louder)[:2])


def make_unet() -> nn.Module:
    torch.manual_seed(0)
    unet: nn.Module = diffusers.UNet2DConditionModel(
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(1, 2),
        use_linear_projection=True,
        norm_num_groups=4,
        cross_attention_dim=32,
    )
    return unet.to(torch.bfloat16)


@pytest.mark.usefixtures("needs_float8")
@torch.no_grad()
def test_only_the_transformers_of_a_unet_are_changed() -> None:
    unet = make_unet()
    inputs = random(2, 4, 8, 8).bfloat16(), torch.tensor([10.0, 900.0]), random(2, 5, 32).bfloat16()
    before = unet(*inputs).sample
    use_float8(unet)
    changed = [name for name, layer in unet.named_modules() if isinstance(layer, Float8Linear)]
    assert changed
    assert all(".attentions." in name for name in changed)
    assert not any(isinstance(layer, nn.Linear) for name, layer in unet.named_modules() if ".attentions." in name)
    assert decibels(before, unet(*inputs).sample) > 20


def test_layers_whose_sides_the_hardware_cannot_take_are_left() -> None:
    unet = make_unet()
    block = next(module for module in unet.modules() if type(module).__name__ == "Transformer2DModel")
    block.proj_in = nn.Linear(24, 32, dtype=torch.bfloat16)
    use_float8(unet)
    assert isinstance(block.proj_in, nn.Linear)
    assert isinstance(block.proj_out, Float8Linear)
