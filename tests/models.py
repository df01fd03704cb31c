"""Random tiny models of the SDXL architecture, saved as full diffusers folders."""

from pathlib import Path
from typing import Any

import diffusers as typed_diffusers
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

diffusers: Any = typed_diffusers  # its constructors have no types

NUM_TOKENS = 24  # what the tiny text encoders read
TEXT_DIM = 16

NOISE_SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "timestep_spacing": "leading",
    "steps_offset": 1,
}


# The noise samplers a model may come with, and what their configuration needs beside.
SAMPLERS: list[tuple[str, dict[str, Any]]] = [
    ("EulerDiscreteScheduler", {"timestep_spacing": "trailing"}),
    ("EulerAncestralDiscreteScheduler", {}),
    ("DPMSolverMultistepScheduler", {}),
    ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False}),
    ("UniPCMultistepScheduler", {}),
    ("LCMScheduler", {"clip_sample": False}),
]


def save_tiny_sdxl(
    folder: Path,
    sampler: str = "EulerDiscreteScheduler",
    prediction_type: str = "epsilon",
    time_cond_proj_dim: int | None = None,
    force_upcast: bool = False,
    with_preview_vae: bool = True,
    **sampler_config: Any,
) -> Path:
    """A random model whose pictures depend clearly on prompt, negative prompt, size, guidance and seed."""
    torch.manual_seed(0)
    noise_schedule = NOISE_SCHEDULE | {"prediction_type": prediction_type} | sampler_config
    tokenizer = _tokenizer()
    diffusers.StableDiffusionXLPipeline(
        vae=_vae(force_upcast),
        text_encoder=CLIPTextModel(_text_config(tokenizer)),
        text_encoder_2=CLIPTextModelWithProjection(_text_config(tokenizer)),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=_unet(time_cond_proj_dim),
        scheduler=getattr(diffusers, sampler)(**noise_schedule),
    ).save_pretrained(folder)
    if with_preview_vae:
        save_tiny_vae(folder / "preview_vae")
    return folder


def save_tiny_vae(folder: Path, latent_channels: int = 4, num_blocks: int = 4) -> Path:
    """A random preview decoder that enlarges latents by 2 ** (num_blocks - 1)."""
    torch.manual_seed(1)
    tiny_vae = diffusers.AutoencoderTiny(
        latent_channels=latent_channels,
        encoder_block_out_channels=(8,) * num_blocks,
        decoder_block_out_channels=(8,) * num_blocks,
        num_encoder_blocks=(1,) * num_blocks,
        num_decoder_blocks=(1,) * num_blocks,
    )
    with torch.no_grad():
        tiny_vae.decoder.layers[-1].weight.mul_(5)  # or all pictures are grey
    tiny_vae.save_pretrained(folder)
    return folder


def _tokenizer() -> CLIPTokenizer:
    """A token for each printable ASCII character, alone and at the end of a word."""
    characters = [chr(code) for code in range(33, 127)]
    tokens = [*characters, *(character + "</w>" for character in characters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=NUM_TOKENS)


def _text_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_DIM,
        intermediate_size=2 * TEXT_DIM,
        projection_dim=TEXT_DIM,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=NUM_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        # Where the pooled embedding is read from; with the default of CLIP it would be the same for every prompt.
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_factor=5.0,  # at 1 all prompts are alike to a random model, at 20 rounding errors explode
    )


def _unet(time_cond_proj_dim: int | None) -> Any:
    time_ids_dim = 8
    return diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(1, 2),
        transformer_layers_per_block=(1, 1),
        use_linear_projection=True,
        norm_num_groups=4,
        cross_attention_dim=2 * TEXT_DIM,
        addition_embed_type="text_time",
        addition_time_embed_dim=time_ids_dim,
        projection_class_embeddings_input_dim=6 * time_ids_dim + TEXT_DIM,
        time_cond_proj_dim=time_cond_proj_dim,
    )


def _vae(force_upcast: bool) -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        sample_size=64,
        scaling_factor=0.5,
        latents_mean=[0.1, -0.2, 0.3, -0.4],
        latents_std=[0.8, 0.9, 1.1, 1.2],
        force_upcast=force_upcast,
    )
