"""The networks of a model as functions of tensors that have a row for each item, put in place of the originals."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scheduler.sdxl.untyped import Pipeline
from scheduler.sdxl.warmed import Network, Warmed

Wrap = Callable[[Network], Warmed]


Input = tuple[tuple[int, ...], torch.dtype]
"""The shape and the dtype of a tensor."""


def unet_inputs(pipe: Pipeline, size: tuple[int, int], rows: int) -> list[Input]:
    """What `on_rows` takes for pictures of that width and height."""
    unet, sides = pipe.unet, latent_sides(pipe, size)
    inputs: list[Input] = [
        ((rows, unet.config.in_channels, *sides), unet.dtype),
        ((rows,), torch.float32),
        ((rows, pipe.tokenizer_2.model_max_length, unet.config.cross_attention_dim), unet.dtype),
        ((rows, pipe.text_encoder_2.config.projection_dim), unet.dtype),
        ((rows, 6), unet.dtype),
    ]
    if unet.config.time_cond_proj_dim is not None:
        inputs.append(((rows, unet.config.time_cond_proj_dim), unet.dtype))
    return inputs


def latent_sides(pipe: Pipeline, size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of a picture -> height and width of its latents."""
    return size[1] // pipe.vae_scale_factor, size[0] // pipe.vae_scale_factor


def on_rows(forward: Callable[..., Any]) -> Network:
    """A UNet's sample, timesteps, tokens, pooled, time ids and, for a distilled one, guidance embeddings -> noise."""

    def run(
        sample: Tensor, timesteps: Tensor, tokens: Tensor, pooled: Tensor, time_ids: Tensor, cond: Tensor | None = None
    ) -> Tensor:
        noise: Tensor = forward(
            sample,
            timesteps,
            encoder_hidden_states=tokens,
            timestep_cond=cond,
            added_cond_kwargs={"text_embeds": pooled, "time_ids": time_ids},
            return_dict=False,
        )[0]
        return noise

    return run


def replace_unet(unet: Any, wrap: Wrap) -> Warmed:
    """Wraps what `on_rows` makes of it."""
    wrapped = wrap(on_rows(unet.forward))

    def forward(
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        added_cond_kwargs: dict[str, Tensor],
        timestep_cond: Tensor | None = None,
        **_unused: object,  # what the pipeline names and leaves empty
    ) -> tuple[Tensor]:
        timesteps = timestep.float().expand(len(sample))  # call mode has one for all
        conds = () if timestep_cond is None else (timestep_cond.to(sample.dtype),)
        texts = (encoder_hidden_states, added_cond_kwargs["text_embeds"], added_cond_kwargs["time_ids"])
        return (wrapped(sample, timesteps, *texts, *conds),)

    unet.forward = forward
    return wrapped


def replace_vae_decoder(vae: Any, wrap: Wrap) -> Warmed:
    """Wraps latents [n, channels, h/8, w/8] -> pictures [n, 3, h, w]; smaller ones where it is a tiny VAE's."""
    vae.decoder.forward = wrapped = wrap(vae.decoder.forward)
    return wrapped


def replace_text_encoder(encoder: Any, wrap: Wrap) -> Warmed:
    """Wraps token ids [n, tokens] -> embeddings and all hidden states."""
    original = encoder.forward
    wrapped = wrap(lambda ids: original(ids, output_hidden_states=True))
    encoder.forward = lambda ids, output_hidden_states: wrapped(ids)  # noqa: ARG005 - the pipeline always asks for them
    return wrapped
