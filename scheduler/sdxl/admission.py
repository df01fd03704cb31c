"""A request's first moment in the engine: prompt encoded, noise drawn, sampler set to the first timestep."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from scheduler.request import GenerateParams, Request
from scheduler.sdxl.prompts import Lookups, PromptEncoder, TextEmbedding
from scheduler.sdxl.sampler import draw_noise
from scheduler.sdxl.trajectory import Trajectory
from scheduler.sdxl.weights import Model

Embeddings = Mapping[str, TextEmbedding]


class Admission:
    def __init__(self, model: Model) -> None:
        self._model = model
        self._encoder = PromptEncoder(model.pipe)

    def start(self, requests: Sequence[Request]) -> list[Trajectory]:
        """Requests -> trajectories, all their prompts encoded in one batch."""
        embeddings = self._encoder.encode([text for request in requests for text in self._texts(request.params)])
        return [self._start(request, embeddings) for request in requests]

    def take_lookups(self) -> Lookups:
        """Prompts looked up since this was asked last."""
        return self._encoder.take_lookups()

    def _is_guided(self, params: GenerateParams) -> bool:
        return params.num_rows == 2 and not self._model.is_distilled

    def _texts(self, params: GenerateParams) -> list[str]:
        negative = self._encoder.negative_text(params.negative_prompt) if self._is_guided(params) else None
        return [params.prompt] if negative is None else [params.prompt, negative]

    def _start(self, request: Request, embeddings: Embeddings) -> Trajectory:
        params, model = request.params, self._model
        sampler = model.make_sampler(params.sampler)
        # On the CPU, where diffusers keeps its tables: looking something up by a timestep must not wait for the device.
        sampler.set_timesteps(params.num_steps, device="cpu")
        sampler.set_begin_index(0)
        generator = torch.Generator().manual_seed(params.seed)
        noise = draw_noise(model.latent_shape(params), generator, model.device)
        return Trajectory(
            request=request,
            sampler=sampler,
            generator=generator,
            prompt=embeddings[params.prompt],
            negative=self._negative(params, embeddings),
            timesteps=sampler.timesteps.to(model.device, torch.float32),
            guidance=self._guidance(params),
            time_ids=self._time_ids(params),
            timestep_cond=self._timestep_cond(params),
            latents=noise * sampler.init_noise_sigma,
        )

    def _guidance(self, params: GenerateParams) -> Tensor:
        numbers = [params.guidance_scale, params.guidance_rescale]
        return torch.tensor(numbers, dtype=torch.float32, device=self._model.device)

    def _negative(self, params: GenerateParams, embeddings: Embeddings) -> TextEmbedding | None:
        if not self._is_guided(params):
            return None
        text = self._encoder.negative_text(params.negative_prompt)
        return embeddings[params.prompt].zeros() if text is None else embeddings[text]

    def _time_ids(self, params: GenerateParams) -> Tensor:
        """[6]: by default, a picture of its own size that was not cropped."""
        size = (params.height, params.width)
        numbers = [*(params.original_size or size), *params.crop, *(params.target_size or size)]
        return torch.tensor(numbers, dtype=self._model.dtype, device=self._model.device)

    def _timestep_cond(self, params: GenerateParams) -> Tensor | None:
        """[dim] for a guidance-distilled model, which is told the guidance scale."""
        unet = self._model.pipe.unet
        if not self._model.is_distilled:
            return None
        scale = torch.tensor([params.guidance_scale - 1])
        cond = self._model.pipe.get_guidance_scale_embedding(scale, embedding_dim=unet.config.time_cond_proj_dim)
        row: Tensor = cond[0].to(self._model.device, self._model.dtype)
        return row
