"""SDXL at full size with random weights, made from its configuration: nothing to download, and as fast as the real one.

The sizes are those of `stabilityai/stable-diffusion-xl-base-1.0` and, for previews, of `madebyollin/taesdxl`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers as typed_diffusers
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from scheduler.sdxl.preview import PREVIEW_SUBFOLDER
from scheduler.sdxl.untyped import Pipeline, TinyVae

diffusers: Any = typed_diffusers  # its constructors have no types

NUM_TOKENS = 77
VOCABULARY = 49408
UNET_GAIN = 3.0
"""Of the last layer. A fresh one gives noise of a third of the strength that a trained model predicts."""
PREVIEW_GAIN = 8.0
"""Likewise for the tiny VAE, whose pictures would otherwise be of one colour, and too easy to encode."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A whole model: `pipe` holds all but the preview decoder, ready for `save_pretrained`."""

    pipe: Pipeline
    tiny_vae: TinyVae


def full_size(device: torch.device | str, dtype: torch.dtype, seed: int = 0) -> Parts:
    """Made on the device itself, in seconds. The same seed gives the same weights on the same kind of device.

    The device may be "meta": then there are shapes and no numbers, which is enough to count operations.
    """
    tokenizer = make_tokenizer()
    torch.manual_seed(seed)
    with _made_on(torch.device(device), dtype):
        unet, tiny_vae = make_unet(), diffusers.AutoencoderTiny().eval()
        modules: dict[str, Any] = {
            "unet": unet,
            "vae": make_vae(),
            "text_encoder": CLIPTextModel(_clip_l(tokenizer)),
            "text_encoder_2": CLIPTextModelWithProjection(_clip_big_g(tokenizer)),
        }
    for module in modules.values():
        module.eval()
    _amplify(unet.conv_out, UNET_GAIN)
    _amplify(tiny_vae.decoder.layers[-1], PREVIEW_GAIN)
    tiny_vae.decoder.layers[-1].bias.data.fill_(0.5)  # the middle of its range, or half of it would be black
    pipe = diffusers.StableDiffusionXLPipeline(
        **modules,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        scheduler=make_noise_sampler(),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return Parts(pipe, tiny_vae)


def save(pipe: Pipeline, tiny_vae: TinyVae, folder: Path, shard_size: str = "2GB") -> Path:
    """As `stabilityai/stable-diffusion-xl-base-1.0` lies on the hub, in shards: safetensors, "fp16" where it is half.

    The preview decoder lies beside the rest, where `scheduler.sdxl.preview` finds it.
    """
    options: dict[str, Any] = {"max_shard_size": shard_size, "variant": "fp16" if pipe.dtype.itemsize == 2 else None}
    pipe.save_pretrained(folder, **options)
    tiny_vae.save_pretrained(folder / PREVIEW_SUBFOLDER, **options)
    return folder


def make_unet() -> Any:
    return diffusers.UNet2DConditionModel(
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(5, 10, 20),  # the number of heads: diffusers' name for it is an old mistake
        transformer_layers_per_block=(1, 2, 10),
        use_linear_projection=True,
        cross_attention_dim=2048,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    ).eval()


def make_vae() -> Any:
    blocks = 4
    return diffusers.AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        layers_per_block=2,
        latent_channels=4,
        sample_size=1024,
        scaling_factor=0.13025,
        force_upcast=True,
    ).eval()


def make_noise_sampler() -> Any:
    return diffusers.EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="leading",
        steps_offset=1,
    )


def make_tokenizer() -> CLIPTokenizer:
    """A token for each printable ASCII character, alone and at the end of a word."""
    characters = [chr(code) for code in range(33, 127)]
    tokens = [*characters, *(character + "</w>" for character in characters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=NUM_TOKENS)


def _clip_l(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    """https://arxiv.org/abs/2103.00020, ViT-L/14."""
    return _text_config(
        tokenizer,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        projection_dim=768,
        hidden_act="quick_gelu",
    )


def _clip_big_g(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    """OpenCLIP ViT-bigG/14, https://arxiv.org/abs/2212.07143."""
    return _text_config(
        tokenizer,
        hidden_size=1280,
        intermediate_size=5120,
        num_hidden_layers=32,
        num_attention_heads=20,
        projection_dim=1280,
        hidden_act="gelu",
    )


def _text_config(tokenizer: CLIPTokenizer, **sizes: Any) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=NUM_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,  # where the pooled embedding is read from
        pad_token_id=tokenizer.pad_token_id,
        **sizes,
    )


def _amplify(layer: torch.nn.Module, gain: float) -> None:
    for parameter in layer.parameters():
        parameter.data.mul_(gain)


@contextmanager
def _made_on(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Inside, modules are made there and in that dtype, with no copy on the CPU."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            yield
    finally:
        torch.set_default_dtype(before)
