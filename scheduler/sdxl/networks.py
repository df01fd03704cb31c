"""The networks of a model as functions of tensors that have a row for each item, put in place of the originals."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from scheduler.sdxl.warmed import Network, Warmed

Wrap = Callable[[Network], Warmed]


def replace_unet(unet: Any, wrap: Wrap) -> Warmed:
    """Wraps sample, timesteps, tokens, pooled, time ids and, for a distilled UNet, guidance embeddings -> noise."""
    original = unet.forward

    def on_rows(
        sample: Tensor, timesteps: Tensor, tokens: Tensor, pooled: Tensor, time_ids: Tensor, cond: Tensor | None = None
    ) -> Tensor:
        noise: Tensor = original(
            sample,
            timesteps,
            encoder_hidden_states=tokens,
            timestep_cond=cond,
            added_cond_kwargs={"text_embeds": pooled, "time_ids": time_ids},
            return_dict=False,
        )[0]
        return noise

    wrapped = wrap(on_rows)

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
    """Wraps latents [n, channels, h/8, w/8] -> pictures [n, 3, h, w]."""
    vae.decoder.forward = wrapped = wrap(vae.decoder.forward)
    return wrapped


def replace_text_encoder(encoder: Any, wrap: Wrap) -> Warmed:
    """Wraps token ids [n, tokens] -> embeddings and all hidden states."""
    original = encoder.forward
    wrapped = wrap(lambda ids: original(ids, output_hidden_states=True))
    encoder.forward = lambda ids, output_hidden_states: wrapped(ids)  # noqa: ARG005 - the pipeline always asks for them
    return wrapped
