"""The judge of the engines: diffusers' own pipeline, called for one request alone."""

import inspect
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scheduler.engine import Pixels
from scheduler.messages import Lora
from scheduler.request import GenerateParams, Request, SamplerName
from tests.models import diffusers
from tests.sdxl.drive import Driver, Trace

TOLERANCE = 1e-4  # of the range of the latents
LEVELS = 2  # of 255, between pictures that should be the same

# The diffusers class of each name, and what its users set beside the model's own configuration.
SAMPLERS: dict[SamplerName, tuple[str, dict[str, Any]]] = {
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "ddim": ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {}),
}


@dataclass
class LoneRun:
    """What a request gives that has the pipeline for itself: `latents` and `x0` after each step, [1, 4, h/8, w/8]."""

    latents: list[Tensor] = field(default_factory=list)
    x0: list[Tensor] = field(default_factory=list)
    image: Pixels = field(default_factory=lambda: np.zeros((0, 0, 3), np.uint8))


class Oracle:
    """A stock pipeline and tiny VAE in fp32, that share nothing with the engine's but the folder.

    `sampler` takes the place of the model's own, `vae` too; `loras` are loaded and not fused. Runs are remembered, for
    the tests of the other engine.
    """

    def __init__(
        self, folder: Path, sampler: SamplerName | None = None, vae: Path | None = None, loras: Iterable[Lora] = ()
    ) -> None:
        self._pipe = diffusers.StableDiffusionXLPipeline.from_pretrained(folder, dtype=torch.float32)
        self._pipe.set_progress_bar_config(disable=True)
        self._tiny_vae = diffusers.AutoencoderTiny.from_pretrained(folder, subfolder="preview_vae", dtype=torch.float32)
        self._default_sampler = self._make_sampler(sampler)
        if vae is not None:
            self._pipe.vae = diffusers.AutoencoderKL.from_pretrained(vae, dtype=torch.float32)
        self._runs: dict[GenerateParams, LoneRun] = {}
        self._load_loras({f"lora{index}": lora for index, lora in enumerate(loras)})

    def run(self, params: GenerateParams) -> LoneRun:
        if params not in self._runs:
            self._runs[params] = self._run(params)
        return self._runs[params]

    def _run(self, params: GenerateParams) -> LoneRun:
        lone = LoneRun()
        sampler = self._make_sampler(params.sampler) if params.sampler else self._default_sampler
        with self._recording(sampler, lone.x0):
            images = self._pipe(
                prompt=params.prompt,
                negative_prompt=params.negative_prompt,
                width=params.width,
                height=params.height,
                num_inference_steps=params.num_steps,
                guidance_scale=params.guidance_scale,
                guidance_rescale=params.guidance_rescale,
                original_size=params.original_size,
                target_size=params.target_size,
                crops_coords_top_left=params.crop,
                generator=torch.Generator().manual_seed(params.seed),
                callback_on_step_end=lambda _pipe, _step, _timestep, tensors: _record(lone.latents, tensors),
            ).images
        lone.image = np.asarray(images[0])
        return lone

    def _make_sampler(self, name: SamplerName | None) -> Any:
        if name is None:
            return self._pipe.scheduler
        class_name, settings = SAMPLERS[name]
        return getattr(diffusers, class_name).from_config(self._pipe.scheduler.config, **settings)

    @contextmanager
    def _recording(self, sampler: Any, x0: list[Tensor]) -> Iterator[None]:
        own = self._pipe.scheduler
        self._pipe.scheduler = _Recorder(sampler, x0)
        yield
        self._pipe.scheduler = own

    def _load_loras(self, loras: dict[str, Lora]) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Already found a `peft_config` attribute", UserWarning)
            for name, lora in loras.items():
                self._pipe.load_lora_weights(lora.path, adapter_name=name)
        if loras:
            self._pipe.set_adapters(list(loras), [lora.scale for lora in loras.values()])

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

    Euler's samplers divide x_t by sqrt(a). Some may limit x0. The consistency sampler mixes x0 with x_t near the end.
    """
    alpha: Tensor = _alpha(sampler, timestep)
    signal, noise = alpha.sqrt(), (1 - alpha).sqrt()
    if type(sampler).__name__.startswith("Euler"):
        sample = sample * signal
    is_epsilon = sampler.config.prediction_type == "epsilon"
    x0 = (sample - noise * model_output) / signal if is_epsilon else signal * sample - noise * model_output
    x0 = _limited(sampler, x0)
    if type(sampler).__name__ == "LCMScheduler":
        c_skip, c_out = sampler.get_scalings_for_boundary_condition_discrete(timestep)
        x0 = c_out * x0 + c_skip * sample
    return x0


def _limited(sampler: Any, x0: Tensor) -> Tensor:
    """By settings of its own class; its configuration may hold those of another."""
    own = inspect.signature(type(sampler).__init__).parameters
    if "thresholding" in own and sampler.config.thresholding:
        thresholded: Tensor = sampler._threshold_sample(x0)
        return thresholded
    if "clip_sample" in own and sampler.config.clip_sample:
        return x0.clamp(-sampler.config.clip_sample_range, sampler.config.clip_sample_range)
    return x0


def _alpha(sampler: Any, timestep: Tensor) -> Any:
    """The share of the picture in x_t. Samplers that count in sigmas may have some between those of two timesteps."""
    if hasattr(sampler, "sigmas"):
        return 1 / (sampler.sigmas[sampler.step_index or 0] ** 2 + 1)
    return sampler.alphas_cumprod[int(timestep)]


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
