"""Noise samplers: diffusers' own, one instance a run, with the predicted clean image kept and the state in fp32."""

import copy
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import LCMScheduler
from torch import Tensor

from scheduler.sdxl.untyped import NoiseSampler
from scheduler.sdxl.upload import upload

Generators = torch.Generator | Sequence[torch.Generator]


class Sampler:
    """One run through the timesteps, for the rows of one request or of one pipeline call.

    Speaks as much of diffusers' interface as the pipeline needs of its `scheduler`, so that it can be in that place.
    Latents keep their dtype from step to step, which is fp32; the UNet's lives only between `scale_model_input` and
    `step`.
    """

    order = 1

    def __init__(self, prototype: NoiseSampler, unet_dtype: torch.dtype) -> None:
        self._inner = copy.deepcopy(prototype)  # much faster than to build one from a configuration
        self._unet_dtype = unet_dtype
        self._takes_generator = "generator" in inspect.signature(self._inner.step).parameters
        self.x0: Tensor | None = None

    @property
    def config(self) -> Any:
        return self._inner.config

    @property
    def timesteps(self) -> Tensor:
        timesteps: Tensor = self._inner.timesteps
        return timesteps

    @property
    def init_noise_sigma(self) -> float | Tensor:
        sigma: float | Tensor = self._inner.init_noise_sigma
        return sigma

    def set_timesteps(self, num_inference_steps: int, device: torch.device | str | None = None) -> None:
        options: dict[str, int] = {}
        if isinstance(self._inner, LCMScheduler):  # it picks from the steps of its distillation, which may be too few
            distilled_steps: int = self.config["original_inference_steps"]
            options["original_inference_steps"] = max(num_inference_steps, distilled_steps)
        self._inner.set_timesteps(num_inference_steps, device=device, **options)

    def set_begin_index(self, begin_index: int = 0) -> None:
        if hasattr(self._inner, "set_begin_index"):  # all but DDIM, which counts no steps
            self._inner.set_begin_index(begin_index)

    def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor:
        """[n, 4, h/8, w/8] fp32 latents -> the same shape, scaled, in the UNet's dtype."""
        scaled: Tensor = self._inner.scale_model_input(sample, timestep)
        return scaled.to(self._unet_dtype)

    def step(
        self,
        model_output: Tensor,
        timestep: Tensor,
        sample: Tensor,
        generator: Generators | None = None,
        return_dict: bool = False,
    ) -> tuple[Tensor]:
        """[n, 4, h/8, w/8] UNet output and fp32 latents -> fp32 latents one step on. Leaves x0 in `x0`."""
        assert not return_dict, "the pipeline asks for a tuple"
        kwargs = {"generator": generator} if self._takes_generator else {}
        output = self._inner.step(model_output.to(sample.dtype), timestep, sample, **kwargs)
        self.x0 = self._x0_of(output)
        latents: Tensor = output.prev_sample
        return (latents,)

    @contextmanager
    def undone_on_error(self, generator: torch.Generator) -> Iterator[None]:
        """A step inside that raises was none, neither for the sampler nor for the generator of its noise."""
        before, drawn = {name: _kept(value) for name, value in vars(self._inner).items()}, generator.get_state()
        try:
            yield
        except Exception:
            vars(self._inner).update(before)
            generator.set_state(drawn)
            raise

    def _x0_of(self, output: Any) -> Tensor:
        """By whichever name they give it; the multistep solvers keep it as the newest of their `model_outputs`."""
        x0: Tensor | None = output.get("pred_original_sample", output.get("denoised"))
        return self._inner.model_outputs[-1] if x0 is None else x0


def _kept(value: Any) -> Any:
    """Lists are written in place, tensors are not."""
    return list(value) if isinstance(value, list) else value


def draw_noise(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    """Normal noise in fp32, drawn on the CPU, so that a seed gives the same picture on any device."""
    return upload(torch.randn(shape, generator=generator), device)
