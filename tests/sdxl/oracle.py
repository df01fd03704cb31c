"""The judge of the engines: diffusers' own pipeline, called for one request alone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny, StableDiffusionXLPipeline
from torch import Tensor

from scheduler.engine import Pixels
from scheduler.request import GenerateParams, Request
from tests.sdxl.drive import Driver, Trace

TOLERANCE = 1e-4  # of the range of the latents
LEVELS = 2  # of 255, between pictures that should be the same


@dataclass
class LoneRun:
    """What a request gives that has the pipeline for itself: `latents` and `x0` after each step, [1, 4, h/8, w/8]."""

    latents: list[Tensor] = field(default_factory=list)
    x0: list[Tensor] = field(default_factory=list)
    image: Pixels = field(default_factory=lambda: np.zeros((0, 0, 3), np.uint8))


class Oracle:
    """A stock pipeline and tiny VAE in fp32, that share nothing with the engine's but the folder."""

    def __init__(self, folder: Path) -> None:
        load: Any = StableDiffusionXLPipeline.from_pretrained
        self._pipe: Any = load(folder, dtype=torch.float32)
        self._pipe.set_progress_bar_config(disable=True)
        load_tiny: Any = AutoencoderTiny.from_pretrained
        self._tiny_vae: Any = load_tiny(folder, subfolder="preview_vae", dtype=torch.float32)

    def run(self, params: GenerateParams) -> LoneRun:
        lone = LoneRun()
        self._pipe.scheduler = _Recorder(self._pipe.scheduler, lone.x0)
        images = self._pipe(
            prompt=params.prompt,
            negative_prompt=params.negative_prompt,
            width=params.width,
            height=params.height,
            num_inference_steps=params.num_steps,
            guidance_scale=params.guidance_scale,
            generator=torch.Generator().manual_seed(params.seed),
            callback_on_step_end=lambda _pipe, _step, _timestep, tensors: _record(lone.latents, tensors),
        ).images
        self._pipe.scheduler = self._pipe.scheduler.inner
        lone.image = np.asarray(images[0])
        return lone

    @torch.no_grad()
    def preview(self, x0: Tensor) -> Pixels:
        """[1, 4, h/8, w/8] x0 latents -> [h, w, 3] uint8."""
        decoded: Tensor = self._tiny_vae.decode(x0).sample[0]
        return (decoded.clamp(-1, 1) * 127.5 + 127.5).round().byte().permute(1, 2, 0).numpy()


def _record(latents: list[Tensor], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    latents.append(tensors["latents"].clone())
    return {}


class _Recorder:
    """The noise sampler in the pipeline, with x0 worked out from what its `step` is given."""

    def __init__(self, inner: Any, x0: list[Tensor]) -> None:
        self.inner = inner
        self.step = _with_signature_of(inner.step, self._step)
        self._x0 = x0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def _step(self, model_output: Tensor, timestep: Tensor, sample: Tensor, **options: Any) -> Any:
        self._x0.append(predicted_x0(self.inner, model_output, timestep, sample))
        return self.inner.step(model_output, timestep, sample, **options)


def _with_signature_of(original: Any, replacement: Any) -> Any:
    """The pipeline reads from the signature of `step` what it may pass."""

    def step(*args: Any, **kwargs: Any) -> Any:
        return replacement(*args, **kwargs)

    step.__wrapped__ = original  # type: ignore[attr-defined]
    return step


def predicted_x0(sampler: Any, model_output: Tensor, timestep: Tensor, sample: Tensor) -> Tensor:
    """From the definition: x_t = sqrt(a) x0 + sqrt(1 - a) noise, with v = sqrt(a) noise - sqrt(1 - a) x0.

    Euler's samplers divide x_t by sqrt(a). The consistency sampler mixes x0 with x_t near the end.
    """
    alpha: Tensor = sampler.alphas_cumprod[int(timestep)]
    signal, noise = alpha.sqrt(), (1 - alpha).sqrt()
    if type(sampler).__name__.startswith("Euler"):
        sample = sample * signal
    is_epsilon = sampler.config.prediction_type == "epsilon"
    x0 = (sample - noise * model_output) / signal if is_epsilon else signal * sample - noise * model_output
    if type(sampler).__name__ == "LCMScheduler":
        c_skip, c_out = sampler.get_scalings_for_boundary_condition_discrete(timestep)
        x0 = c_out * x0 + c_skip * sample
    return x0


def error_of_range(actual: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the expected values' range."""
    return float((actual - expected).abs().max() / (expected.max() - expected.min()))


def largest_difference(actual: Pixels, expected: Pixels) -> int:
    """In levels of 255."""
    assert actual.shape == expected.shape
    return int(np.abs(actual.astype(int) - expected.astype(int)).max())


def distinct(images: Sequence[Pixels]) -> bool:
    """Whether no two pictures are as close as two that count as the same."""
    return all(
        one.shape != other.shape or largest_difference(one, other) > 4 * LEVELS
        for index, one in enumerate(images)
        for other in images[:index]
    )


def assert_all_own(driver: Driver, groups: Iterable[Iterable[Request]], oracle: Oracle) -> None:
    """Everything each request was given is what it would have been given alone."""
    for request in chain.from_iterable(groups):
        _assert_own(driver.traces[request.id], request.params, oracle)


def _assert_own(trace: Trace, params: GenerateParams, oracle: Oracle) -> None:
    lone = oracle.run(params)
    assert len(trace.latents) == params.num_steps
    for step_index in range(params.num_steps):
        assert error_of_range(trace.latents[step_index], lone.latents[step_index]) < TOLERANCE
        assert error_of_range(trace.x0[step_index], lone.x0[step_index]) < TOLERANCE
    assert list(trace.previews) == [i + 1 for i in range(params.num_steps) if params.preview_due(i)]
    for step, preview in trace.previews.items():
        assert largest_difference(preview, oracle.preview(lone.x0[step - 1])) <= LEVELS
    assert trace.image is not None
    assert largest_difference(trace.image, lone.image) <= LEVELS
