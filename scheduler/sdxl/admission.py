"""A request's first moment in the engine: prompt encoded, noise drawn, sampler set to the first timestep."""

from collections.abc import Sequence

import torch
from torch import Tensor

from scheduler.request import GenerateParams, Request
from scheduler.sdxl.prompts import PromptEncoder, TextEmbedding
from scheduler.sdxl.sampler import Sampler, draw_noise
from scheduler.sdxl.trajectory import Trajectory
from scheduler.sdxl.weights import Model


class Admission:
    def __init__(self, model: Model) -> None:
        self._model = model
        self._encoder = PromptEncoder(model.pipe)

    def start(self, requests: Sequence[Request]) -> list[Trajectory]:
        """Requests -> trajectories, all their prompts encoded in one batch."""
        # What is missing of these is encoded here, at once; below they come from the cache.
        self._encoder.encode(text for request in requests for text in self._texts(request.params))
        return [self._start(request) for request in requests]

    def _is_guided(self, params: GenerateParams) -> bool:
        return params.num_rows == 2 and not self._model.is_distilled

    def _texts(self, params: GenerateParams) -> list[str]:
        negative = params.negative_prompt
        return [params.prompt, negative] if negative is not None and self._is_guided(params) else [params.prompt]

    def _start(self, request: Request) -> Trajectory:
        params, model = request.params, self._model
        sampler = Sampler(model.sampler, model.dtype)
        # On the CPU, where diffusers keeps its tables: looking something up by a timestep must not wait for the device.
        sampler.set_timesteps(params.num_steps, device="cpu")
        sampler.set_begin_index(0)
        generator = torch.Generator().manual_seed(params.seed)
        noise = draw_noise(model.latent_shape(params), generator, model.device)
        prompt = self._encoder.encode([params.prompt])[params.prompt]
        return Trajectory(
            request=request,
            sampler=sampler,
            generator=generator,
            prompt=prompt,
            negative=self._negative(params, prompt),
            time_ids=self._time_ids(params),
            timestep_cond=self._timestep_cond(params),
            latents=noise * sampler.init_noise_sigma,
        )

    def _negative(self, params: GenerateParams, prompt: TextEmbedding) -> TextEmbedding | None:
        return self._encoder.encode_negative(params.negative_prompt, like=prompt) if self._is_guided(params) else None

    def _time_ids(self, params: GenerateParams) -> Tensor:
        """[6]: the pipeline's defaults, the picture is neither scaled nor cropped."""
        size = [params.height, params.width]
        return torch.tensor([*size, 0, 0, *size], dtype=self._model.dtype, device=self._model.device)

    def _timestep_cond(self, params: GenerateParams) -> Tensor | None:
        """[dim] for a guidance-distilled model, which is told the guidance scale."""
        unet = self._model.pipe.unet
        if not self._model.is_distilled:
            return None
        scale = torch.tensor([params.guidance_scale - 1])
        cond = self._model.pipe.get_guidance_scale_embedding(scale, embedding_dim=unet.config.time_cond_proj_dim)
        row: Tensor = cond[0].to(self._model.device, self._model.dtype)
        return row
