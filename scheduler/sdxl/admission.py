"""A request's first moment in the engine: prompt encoded, noise drawn, the course of its steps known."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import torch
from torch import Tensor

from scheduler.request import GenerateParams, Request
from scheduler.sdxl.course import EARLIER, survey
from scheduler.sdxl.prompts import Lookups, PromptEncoder, TextEmbedding
from scheduler.sdxl.sampler import Sampler, draw_noise
from scheduler.sdxl.trajectory import Trajectory
from scheduler.sdxl.upload import upload
from scheduler.sdxl.weights import Model

Embeddings = Mapping[str, TextEmbedding]


class Admission:
    def __init__(self, model: Model) -> None:
        self._model = model
        self._encoder = PromptEncoder(model.pipe)
        self._expected: list[str] = []  # texts of requests that will start next

    def expect(self, requests: Sequence[Request]) -> None:
        """Their prompts may be encoded together with those of requests that start before them."""
        self._expected = self._all_texts(requests)

    def start(self, requests: Sequence[Request]) -> list[Trajectory]:
        """Requests -> trajectories, all their prompts encoded in one batch."""
        embeddings = self._encode(self._all_texts(requests))
        return [self._start(request, embeddings) for request in requests]

    def take_lookups(self) -> Lookups:
        """Prompts looked up since this was asked last."""
        return self._encoder.take_lookups()

    def _is_guided(self, params: GenerateParams) -> bool:
        return params.num_rows == 2 and not self._model.is_distilled

    def _encode(self, texts: Sequence[str]) -> Embeddings:
        expected, self._expected = self._expected, []
        if expected:
            with suppress(Exception):  # an expected text at fault is told to its own request, when that starts
                return self._encoder.encode(texts, expected)
        return self._encoder.encode(texts)

    def _all_texts(self, requests: Sequence[Request]) -> list[str]:
        return [text for request in requests for text in self._texts(request.params)]

    def _texts(self, params: GenerateParams) -> list[str]:
        negative = self._encoder.negative_text(params.negative_prompt) if self._is_guided(params) else None
        return [params.prompt] if negative is None else [params.prompt, negative]

    def _start(self, request: Request, embeddings: Embeddings) -> Trajectory:
        params, model = request.params, self._model
        course = survey(model.prototypes.get(params.sampler), params.num_steps)
        generator = torch.Generator().manual_seed(params.seed)
        latents = draw_noise(model.latent_shape(params), generator, model.device) * course.initial_sigma
        return Trajectory(
            request=request,
            course=course,
            sampler=None if course.is_linear else self._make_sampler(params),
            generator=generator,
            prompt=embeddings[params.prompt],
            negative=self._negative(params, embeddings),
            time_ids=self._time_ids(params),
            timestep_cond=self._timestep_cond(params),
            state=torch.cat([latents, latents.new_zeros(EARLIER, *latents.shape[1:])]),
        )

    def _make_sampler(self, params: GenerateParams) -> Sampler:
        """At its first timestep. Its tables are on the CPU: looking something up must not wait for the device."""
        sampler = self._model.make_sampler(params.sampler)
        sampler.set_timesteps(params.num_steps, device="cpu")
        sampler.set_begin_index(0)
        return sampler

    def _negative(self, params: GenerateParams, embeddings: Embeddings) -> TextEmbedding | None:
        if not self._is_guided(params):
            return None
        text = self._encoder.negative_text(params.negative_prompt)
        return embeddings[params.prompt].zeros() if text is None else embeddings[text]

    def _time_ids(self, params: GenerateParams) -> Tensor:
        """[6]: by default, a picture of its own size that was not cropped."""
        size = (params.height, params.width)
        numbers = [*(params.original_size or size), *params.crop, *(params.target_size or size)]
        return upload(torch.tensor(numbers, dtype=self._model.dtype), self._model.device)

    def _timestep_cond(self, params: GenerateParams) -> Tensor | None:
        """[dim] for a guidance-distilled model, which is told the guidance scale."""
        unet = self._model.pipe.unet
        if not self._model.is_distilled:
            return None
        scale = torch.tensor([params.guidance_scale - 1])
        cond = self._model.pipe.get_guidance_scale_embedding(scale, embedding_dim=unet.config.time_cond_proj_dim)
        return upload(cond[0].to(self._model.dtype), self._model.device)
