"""Random tiny models of the SDXL architecture, saved as full diffusers folders."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers as typed_diffusers
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

diffusers: Any = typed_diffusers  # its constructors have no types

NUM_TOKENS = 24  # what the tiny text encoders read
TEXT_DIM = 16
LORA_PARTS = ("unet", "text_encoder", "text_encoder_2")

NOISE_SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "timestep_spacing": "leading",
    "steps_offset": 1,
}


def save_tiny_sdxl(
    folder: Path,
    sampler: str = "EulerDiscreteScheduler",
    prediction_type: str = "epsilon",
    time_cond_proj_dim: int | None = None,
    with_preview_vae: bool = True,
    force_zeros: bool = True,
    vae: dict[str, Any] | None = None,
    **sampler_config: Any,
) -> Path:
    """A random model whose pictures depend clearly on prompt, negative prompt, size, guidance and seed.

    `force_zeros` is whether no negative prompt means zeros; `vae` are settings that differ from `make_vae`'s.
    """
    torch.manual_seed(0)
    noise_schedule = NOISE_SCHEDULE | {"prediction_type": prediction_type} | sampler_config
    tokenizer = _tokenizer()
    diffusers.StableDiffusionXLPipeline(
        vae=make_vae(**(vae or {})),
        text_encoder=CLIPTextModel(_text_config(tokenizer)),
        text_encoder_2=CLIPTextModelWithProjection(_text_config(tokenizer)),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=_unet(time_cond_proj_dim),
        scheduler=getattr(diffusers, sampler)(**noise_schedule),
        force_zeros_for_empty_prompt=force_zeros,
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


def save_vae(folder: Path, seed: int = 2, **changes: Any) -> Path:
    """A random VAE by itself, see `make_vae`."""
    torch.manual_seed(seed)
    make_vae(**changes).save_pretrained(folder)
    return folder


def save_lora(folder: Path, model: Path, seed: int = 3, parts: Sequence[str] = LORA_PARTS) -> Path:
    """Random low-rank weights for the attention of some parts of a model. A file.

    They are strong enough to be seen, and too weak to blow up rounding errors.
    """
    pipe = diffusers.StableDiffusionXLPipeline.from_pretrained(model)
    generator = torch.Generator().manual_seed(seed)
    layers = {f"{part}_lora_layers": _lora_layers(getattr(pipe, part), generator) for part in parts}
    pipe.save_lora_weights(folder, **layers)
    return folder / "pytorch_lora_weights.safetensors"


def _lora_layers(module: torch.nn.Module, generator: torch.Generator, rank: int = 2) -> dict[str, torch.Tensor]:
    weights = {}
    for name, layer in module.named_modules():
        if isinstance(layer, torch.nn.Linear) and name.endswith(("to_q", "to_v", "q_proj", "v_proj")):
            weights[f"{name}.lora_A.weight"] = 0.3 * torch.randn(rank, layer.in_features, generator=generator)
            weights[f"{name}.lora_B.weight"] = 0.3 * torch.randn(layer.out_features, rank, generator=generator)
    return weights


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


def make_vae(num_blocks: int = 4, **changes: Any) -> Any:
    """A random VAE that enlarges latents by 2 ** (num_blocks - 1), with statistics for each channel."""
    settings = {
        "latent_channels": 4,
        "scaling_factor": 0.5,
        "latents_mean": [0.1, -0.2, 0.3, -0.4],
        "latents_std": [0.8, 0.9, 1.1, 1.2],
        "force_upcast": False,
    }
    return diffusers.AutoencoderKL(
        block_out_channels=(8,) * num_blocks,
        down_block_types=("DownEncoderBlock2D",) * num_blocks,
        up_block_types=("UpDecoderBlock2D",) * num_blocks,
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=64,
        **(settings | changes),
    )
