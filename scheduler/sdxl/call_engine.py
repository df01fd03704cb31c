"""Call mode: one real pipeline call a batch, each request's latents sliced out of it after every step.

The plain loop beside the fast one: the reference for parity, and the baseline of the benchmarks.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from scheduler.engine import OnStep, RequestOutput, StepOutput
from scheduler.messages import ModelInfo, WorkerConfig
from scheduler.request import GenerateParams, Request, Status
from scheduler.sdxl.aside import Aside, choose_aside
from scheduler.sdxl.failures import failure
from scheduler.sdxl.memory import Memory
from scheduler.sdxl.pace import Pace
from scheduler.sdxl.pictures import Pictures, Slice
from scheduler.sdxl.prompts import PromptEncoder
from scheduler.sdxl.results import StepCounts, report
from scheduler.sdxl.sampler import Sampler, draw_noise
from scheduler.sdxl.timing import Stopwatch
from scheduler.sdxl.untyped import Pipeline
from scheduler.sdxl.weights import Model


class CallEngine:
    """One `StableDiffusionXLPipeline.__call__` a `run`, for requests whose call keys agree.

    Where memory does not hold the call, halves of the batch are called one after the other, each from its first step.
    """

    def __init__(self, model: Model, config: WorkerConfig, aside: Aside | None = None) -> None:
        aside = aside or choose_aside(model.device)
        self._model = model
        self._info = model.info(config)
        self._encoder = PromptEncoder(model.pipe)
        self._memory = Memory(aside.free_memory)  # not the pictures': a decode that is halved tells nothing of a call
        self._pictures = Pictures(model, aside, Memory(aside.free_memory))
        self._pace = Pace(aside.mark)

    @property
    def info(self) -> ModelInfo:
        return self._info

    def expect(self, requests: Sequence[Request]) -> None:
        """The pipeline encodes its prompts itself."""

    @torch.inference_mode()
    def run(self, batch: Sequence[Request], on_step: OnStep) -> None:
        def tell(output: StepOutput) -> None:
            halvings = self._memory.take_halvings()
            on_step(replace(output, out_of_memory=output.out_of_memory + halvings))

        def call(part: Sequence[Request]) -> None:
            if wanted := [request for request in part if _is_running(request)]:
                self._call(wanted, tell)

        watch = Stopwatch()
        called = self._memory.fit(batch, call)
        if called.failures:
            failed = [failure(request, request.steps_done, error) for request, error in called.failures]
            tell(report(self._pictures, [], self._pace, watch, StepCounts(), failed))

    def seconds_to_spare(self) -> float:
        return 0.0  # nobody joins a call

    @torch.inference_mode()
    def collect(self, *, wait: bool) -> Sequence[RequestOutput]:
        return self._pictures.collect(wait=wait)

    def release(self, request: Request) -> None:
        """Nothing is kept of a request between calls."""

    def _call(self, batch: Sequence[Request], on_step: OnStep) -> None:
        model, params = self._model, batch[0].params
        sampler = model.make_sampler(params.sampler)
        truncated = [any(map(self._encoder.is_truncated, self._texts(request.params))) for request in batch]
        generators = [torch.Generator().manual_seed(request.params.seed) for request in batch]
        model.pipe.scheduler = sampler
        self._pace.begin()
        model.pipe(
            prompt=[request.params.prompt for request in batch],
            negative_prompt=_negative_prompts(batch),
            height=params.height,
            width=params.width,
            num_inference_steps=params.num_steps,
            guidance_scale=params.guidance_scale,
            guidance_rescale=params.guidance_rescale,
            original_size=params.original_size,
            target_size=params.target_size,
            crops_coords_top_left=params.crop,
            generator=generators,
            # Drawn here, because the pipeline would draw them in the model's dtype.
            latents=torch.cat([draw_noise(model.latent_shape(params), each, model.device) for each in generators]),
            output_type="latent",
            callback_on_step_end=_StepEnd(self._pictures, self._pace, batch, truncated, sampler, on_step, self._memory),
        )

    def _texts(self, params: GenerateParams) -> list[str]:
        """That the pipeline encodes for a request."""
        is_guided = params.num_rows == 2 and not self._model.is_distilled
        negative = params.negative_prompt if is_guided else None
        return [params.prompt] if negative is None else [params.prompt, negative]


def _negative_prompts(batch: Sequence[Request]) -> list[str] | None:
    """All or none: their call keys agree."""
    prompts = [request.params.negative_prompt for request in batch]
    return None if None in prompts else [prompt for prompt in prompts if prompt is not None]


class _StepEnd:
    """The pipeline's callback: where the loop breathes in the midst of a call."""

    def __init__(
        self,
        pictures: Pictures,
        pace: Pace,
        batch: Sequence[Request],
        truncated: Sequence[bool],
        sampler: Sampler,
        on_step: OnStep,
        memory: Memory,
    ) -> None:
        self._pictures = pictures
        self._pace = pace
        self._batch = batch
        self._truncated = truncated
        self._sampler = sampler
        self._on_step = on_step
        self._memory = memory
        self._watch = Stopwatch()

    def __call__(self, pipe: Pipeline, step_index: int, _timestep: Tensor, tensors: dict[str, Any]) -> dict[str, Any]:
        # The pipeline's own part, all of it the UNet's but for the sampler and, in the first step, the text encoders.
        self._watch.stages["unet"] = self._watch.elapsed
        slices = self._slices(step_index + 1, tensors["latents"])
        if slices:
            self._on_step(report(self._pictures, slices, self._pace, self._watch, self._counts(len(slices))))
        if not any(_is_running(request) for request in self._batch):
            pipe._interrupt = True
        self._pace.begin()
        self._watch = Stopwatch()
        return {}

    def _counts(self, num_live: int) -> StepCounts:
        """Rows of requests that were cancelled count as padding, beside what the UNet's rows are padded by."""
        num_rows, called = self._num_rows(num_live), self._num_rows(len(self._batch))
        padding = self._pictures.model.num_padding(called, self._batch[0].params)
        fitting_rows = called if self._memory.has_halved else None  # until it is told
        return StepCounts(num_rows, called - num_rows + padding, fitting_rows)

    def _slices(self, steps_done: int, latents: Tensor) -> list[Slice]:
        """Each live request's row of the batch; a cancelled one is still computed, and masked here."""
        x0 = self._sampler.x0
        assert x0 is not None
        rows = zip(self._batch, torch.split(latents, 1), torch.split(x0, 1), self._truncated, strict=True)
        return [
            Slice(request, steps_done, latents=own_latents, x0=own_x0, prompt_truncated=truncated)
            for request, own_latents, own_x0, truncated in rows
            if _is_running(request)
        ]

    def _num_rows(self, num_requests: int) -> int:
        rows_each = 1 if self._pictures.model.is_distilled else self._batch[0].params.num_rows
        return rows_each * num_requests


def _is_running(request: Request) -> bool:
    return request.status is Status.RUNNING
