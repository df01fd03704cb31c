"""The full-size model: its shapes alone, which need no memory."""

import pytest
import torch

from benchmarks.gpu.limits import DECODE_TFLOP, ROW_TFLOP, count_decode, count_row, limit
from benchmarks.gpu.model import Parts, full_size


@pytest.fixture(scope="module")
def parts() -> Parts:
    return full_size("meta", torch.bfloat16)


def num_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_it_is_as_large_as_sdxl(parts: Parts) -> None:
    assert num_parameters(parts.pipe.unet) == 2_567_463_684
    assert num_parameters(parts.pipe.text_encoder) == 123_060_480
    assert num_parameters(parts.pipe.text_encoder_2) == 694_659_840
    assert num_parameters(parts.pipe.vae) == 83_653_863
    assert num_parameters(parts.tiny_vae) == 2_445_063


def test_it_is_made_in_the_dtype_and_on_the_device(parts: Parts) -> None:
    for module in (parts.pipe.unet, parts.pipe.vae, parts.pipe.text_encoder_2, parts.tiny_vae):
        assert {(each.dtype, each.device.type) for each in module.parameters()} == {(torch.bfloat16, "meta")}
        assert not module.training
    assert torch.get_default_dtype() == torch.float32


def test_prompts_become_tokens(parts: Parts) -> None:
    ids = parts.pipe.tokenizer("a red house", padding="max_length", max_length=77).input_ids
    assert len(ids) == 77
    assert ids[0] == parts.pipe.text_encoder.config.bos_token_id
    assert parts.pipe.text_encoder.config.eos_token_id in ids


@pytest.mark.parametrize("side", ROW_TFLOP)
def test_a_row_costs_what_is_stated(parts: Parts, side: int) -> None:
    assert count_row(parts.pipe.unet, side // 8) / 1e12 == pytest.approx(ROW_TFLOP[side], rel=5e-3)


def test_a_decode_costs_what_is_stated(parts: Parts) -> None:
    assert count_decode(parts.pipe.vae, 128) / 1e12 == pytest.approx(DECODE_TFLOP, rel=5e-3)


def test_the_limit_follows_from_the_counts() -> None:
    assert limit(790) == pytest.approx(2.8, abs=0.02)
