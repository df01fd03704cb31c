"""The painter: text encoders and a UNet of SDXL's layout, trained together on latents."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from models.postcard.captions import describe, foreign
from models.postcard.draw import HORIZON
from models.postcard.latents import PIXELS, LatentStore, Size
from models.postcard.parts import EulerDiscreteScheduler, UNet2DConditionModel
from models.postcard.recipe import Phase, Recipe
from models.postcard.tokenizer import MAX_TOKENS
from models.postcard.world import random_scene

SUBJECT_WEIGHT = 3.0
TIME_ID_WIDTH = 16
TIME_IDS = 6  # original height and width, crop top and left, target height and width


def new_sampler() -> EulerDiscreteScheduler:
    """SDXL's noise schedule, with v-prediction and trailing timesteps; a DDIM made from it does not clip."""
    sampler = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )
    sampler.register_to_config(clip_sample=False, set_alpha_to_one=False)
    return sampler


class Painter(nn.Module):
    """UNet and both text encoders, encoding prompts exactly as `StableDiffusionXLPipeline` does."""

    def __init__(self, recipe: Recipe, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        text = _text_config(recipe, tokenizer)
        text._attn_implementation = "eager"  # faster to train than the fused kind at so few tokens
        self.text_encoder = CLIPTextModel(text)
        self.text_encoder_2 = CLIPTextModelWithProjection(text)
        self.unet = _new_unet(recipe)

    def encode(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """[n, tokens] -> embeddings [n, tokens, 2 * text_width], pooled [n, text_width]."""
        first = self.text_encoder(tokens, output_hidden_states=True)
        second = self.text_encoder_2(tokens, output_hidden_states=True)
        return torch.cat([first.hidden_states[-2], second.hidden_states[-2]], -1), second.text_embeds

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor, keep: Tensor) -> Tensor:
        """Predict v for [n, 4, rows, columns]; where `keep` [n] is 0, text embeddings are zeros (no prompt)."""
        embeddings, pooled = self.encode(tokens)
        height, width = (side * PIXELS for side in noisy.shape[2:])
        time_ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32, device=noisy.device)
        added = {"text_embeds": pooled * keep[:, None], "time_ids": time_ids.repeat(len(noisy), 1)}
        prediction = self.unet(noisy, timesteps, embeddings * keep[:, None, None], added_cond_kwargs=added)
        return prediction.sample  # type: ignore[no-any-return]


class UnetStage:
    """Trains the painter to see the picture in the noise, given its caption."""

    name = "unet"

    def __init__(self, recipe: Recipe, store: LatentStore, tokenizer: CLIPTokenizer, device: torch.device) -> None:
        self.recipe, self.store, self.tokenizer, self.device = recipe, store, tokenizer, device
        self.steps, self.learning_rate = recipe.unet_steps, recipe.unet_learning_rate
        self.ema_decay = recipe.ema_decay
        torch.manual_seed(recipe.seed + 3)
        self.network = Painter(recipe, tokenizer).to(device)
        self.network.unet.to(memory_format=torch.channels_last)
        self.network.unet.set_attn_processor(AttnProcessor())  # likewise
        self.alphas = new_sampler().alphas_cumprod.to(device)

    def sizes(self, step: int) -> tuple[Size, ...]:
        """Latent sizes of the phase that `step` belongs to."""
        return self._phase(step).sizes

    def loss(self, step: int) -> Tensor:
        """-> scalar."""
        phase = self._phase(step)
        size = phase.sizes[step % len(phase.sizes)]
        rng = np.random.default_rng((self.recipe.seed, 3, step))
        seeds = rng.integers(self.store.count(size), size=phase.batch_size)
        clean = self.store.get(size)[torch.from_numpy(seeds)].float().to(self.device)
        tokens, keep = self._texts(rng, [int(seed) for seed in seeds])
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(step)).to(self.device)
        timesteps = torch.from_numpy(rng.integers(0, len(self.alphas), phase.batch_size)).to(self.device)
        signal = self.alphas[timesteps].sqrt().view(-1, 1, 1, 1)
        noisiness = (1 - signal.square()).sqrt()
        with torch.autocast(self.device.type, torch.bfloat16):
            prediction = self.network(signal * clean + noisiness * noise, timesteps, tokens, keep)
        error: Tensor = prediction.float() - (signal * noise - noisiness * clean)
        return (error.square() * emphasis(size).to(self.device)).mean()

    def _phase(self, step: int) -> Phase:
        phases = self.recipe.unet_phases
        return phases[bisect_right([phase.until for phase in phases[:-1]], step / self.steps)]

    def _texts(self, rng: np.random.Generator, seeds: list[int]) -> tuple[Tensor, Tensor]:
        texts = [self._text(rng, seed) for seed in seeds]
        keep = torch.from_numpy(rng.random(len(seeds)) >= self.recipe.drop_text).float()
        return tokenise(self.tokenizer, texts).to(self.device), keep.to(self.device)

    def _text(self, rng: np.random.Generator, seed: int) -> str:
        if rng.random() < self.recipe.foreign_text:
            return foreign(rng)
        return describe(random_scene(np.random.default_rng(seed)), rng)


def emphasis(size: Size) -> Tensor:
    """Weights of mean 1 for a loss on latents [n, 4, *size]: more where the subject stands, which is small -> [*size].

    A weight that depends on the place alone leaves the best prediction what it is; it only speeds up learning it.
    """
    rows, columns = size
    unit = min(size)
    down = (torch.arange(rows) + 0.5 - HORIZON * rows).abs() / unit
    across = (torch.arange(columns) + 0.5 - columns / 2).abs() / unit
    weights = 1 + (SUBJECT_WEIGHT - 1) * ((down[:, None] < 0.35) & (across < 0.3)).float()
    return weights / weights.mean()


def tokenise(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """-> [n, MAX_TOKENS] int64, padded and cut as the pipeline does."""
    encoded = tokenizer(texts, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt")
    return encoded.input_ids  # type: ignore[no-any-return]


def _text_config(recipe: Recipe, tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.text_width,
        intermediate_size=recipe.text_width * 8 // 3,
        projection_dim=recipe.text_width,
        num_hidden_layers=recipe.text_layers,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _new_unet(recipe: Recipe) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=32,
        in_channels=4,
        out_channels=4,
        block_out_channels=recipe.unet_channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=tuple(max(1, width // recipe.unet_head_channels) for width in recipe.unet_channels),
        norm_num_groups=recipe.unet_norm_groups,
        cross_attention_dim=2 * recipe.text_width,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_ID_WIDTH,
        projection_class_embeddings_input_dim=recipe.text_width + TIME_IDS * TIME_ID_WIDTH,
        use_linear_projection=True,
    )
