"""Networks that are called as the pipeline calls them, and see tensors with a row for each item."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from scheduler.sdxl.networks import replace_text_encoder, replace_unet, replace_vae_decoder
from scheduler.sdxl.warmed import Network, Warmed


class Wrapped:
    """What a network is wrapped in, with the shapes that passed it."""

    def __init__(self) -> None:
        self.shapes: list[list[tuple[int, ...]]] = []
        self.dtypes: list[torch.dtype] = []

    def __call__(self, network: Network) -> Warmed:
        def run(*inputs: Tensor) -> Any:
            self.shapes.append([tuple(each.shape) for each in inputs])
            self.dtypes.extend(each.dtype for each in inputs)
            return network(*inputs)

        return Warmed(run, run, lambda call: call)


@pytest.fixture
def wrapped() -> Wrapped:
    return Wrapped()


def make_unet() -> SimpleNamespace:
    """Gives sample + timestep + mean of the texts."""

    def forward(sample: Tensor, timesteps: Tensor, encoder_hidden_states: Tensor, **options: Any) -> tuple[Tensor]:
        cond = options["timestep_cond"]
        added = options["added_cond_kwargs"]
        texts = encoder_hidden_states.mean((1, 2)) + added["text_embeds"].mean(1)
        numbers = timesteps + texts + added["time_ids"].mean(1)
        return (sample + (numbers if cond is None else numbers + cond.mean(1))[:, None, None, None],)

    return SimpleNamespace(forward=forward)


def call_unet(unet: Any, timestep: Tensor, **options: Any) -> Any:
    added = {"text_embeds": torch.ones(2, 5), "time_ids": torch.ones(2, 6)}
    texts = torch.ones(2, 7, 3)
    return unet.forward(torch.zeros(2, 4, 8, 8), timestep, texts, added_cond_kwargs=added, return_dict=False, **options)


def test_a_unet_is_called_as_before(wrapped: Wrapped) -> None:
    unet = make_unet()
    replace_unet(unet, wrapped)
    (noise,) = call_unet(unet, torch.tensor([10.0, 20.0]), cross_attention_kwargs=None)
    assert noise[:, 0, 0, 0].tolist() == [13, 23]
    assert wrapped.shapes == [[(2, 4, 8, 8), (2,), (2, 7, 3), (2, 5), (2, 6)]]


def test_one_timestep_for_all_becomes_one_a_row(wrapped: Wrapped) -> None:
    unet = make_unet()
    replace_unet(unet, wrapped)
    (noise,) = call_unet(unet, torch.tensor(10))
    assert noise[:, 0, 0, 0].tolist() == [13, 13]
    assert wrapped.shapes[0][1] == (2,)
    assert set(wrapped.dtypes) == {torch.float32}


def test_the_guidance_embedding_of_a_distilled_unet_is_a_row_more(wrapped: Wrapped) -> None:
    unet = make_unet()
    replace_unet(unet, wrapped)
    (noise,) = call_unet(unet, torch.tensor(10), timestep_cond=torch.ones(2, 4, dtype=torch.float64))
    assert noise[:, 0, 0, 0].tolist() == [14, 14]
    assert wrapped.shapes[0][5] == (2, 4)
    assert set(wrapped.dtypes) == {torch.float32}


def test_a_vae_decodes_as_before(wrapped: Wrapped) -> None:
    vae = SimpleNamespace(decoder=SimpleNamespace(forward=lambda latents: latents + 1))
    replace_vae_decoder(vae, wrapped)
    assert vae.decoder.forward(torch.zeros(1, 4)).tolist() == [[1, 1, 1, 1]]
    assert wrapped.shapes == [[(1, 4)]]


def test_a_text_encoder_always_gives_all_hidden_states(wrapped: Wrapped) -> None:
    encoder = SimpleNamespace(forward=lambda ids, output_hidden_states: (ids, output_hidden_states))
    replace_text_encoder(encoder, wrapped)
    ids = torch.zeros(2, 3, dtype=torch.int64)
    assert encoder.forward(ids, output_hidden_states=True) == (ids, True)
    assert wrapped.shapes == [[(2, 3)]]
