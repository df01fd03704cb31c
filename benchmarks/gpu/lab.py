"""What the stages measure on: a model on a device, copies of it on rungs of the ladder, and what is known so far."""

import copy
import dataclasses
import gc
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol, TypeVar
from unittest.mock import patch

import msgspec
import torch
from torch import Tensor

from benchmarks.gpu.model import full_size, save
from benchmarks.gpu.scale import Scale
from benchmarks.gpu.store import Point
from scheduler.messages import Speedups, StepTime, WorkerConfig
from scheduler.request import GenerateParams, Request, Status
from scheduler.sdxl import warming
from scheduler.sdxl.aside import Aside
from scheduler.sdxl.device import DTYPES
from scheduler.sdxl.networks import Wrap
from scheduler.sdxl.prototypes import Prototypes
from scheduler.sdxl.speedups import apply
from scheduler.sdxl.step_engine import StepEngine
from scheduler.sdxl.warmed import Call
from scheduler.sdxl.warming import Shape
from scheduler.sdxl.weights import Model, load_model

PLAIN = Speedups()
FULL_SIZE = "sdxl-random"
"""The name of `benchmarks.gpu.model`'s."""


def strict(call: Call) -> Call:
    """A compiled call that fails where a service's would run as it was written, or that would be timed as compiled."""

    def run() -> Any:
        with torch.compiler.set_stance("fail_on_recompile"):
            return call()

    return run


class Closable(Protocol):
    def close(self) -> None: ...


Shared = TypeVar("Shared", bound=Closable)


class Lab:
    """`model_name` is `FULL_SIZE`, or a folder in diffusers layout. `known` gives a stage's points measured so far.

    `speedups` are those of the stages that do not compare them.
    """

    def __init__(
        self,
        model_name: str,
        device: torch.device,
        dtype: str,
        scale: Scale,
        speedups: Speedups = PLAIN,
        known: Callable[[str], Sequence[Point]] = lambda _: (),
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.model_name = model_name
        self.device = device
        self.dtype = dtype
        self.scale = scale
        self.speedups = speedups
        self.known = known
        self.say = say
        self._kept = ExitStack()
        self._models: dict[str, Model] = {}
        self._shared: dict[Callable[[Lab], Any], Any] = {}

    def close(self) -> None:
        self._kept.close()
        self.forget_models()

    def shared(self, kind: "Callable[[Lab], Shared]") -> Shared:
        """One for all tasks, made when it is first asked for, closed in the end."""
        if kind not in self._shared:
            self._shared[kind] = kind(self)
            self._kept.callback(self._shared[kind].close)
        made: Shared = self._shared[kind]
        return made

    @torch.inference_mode(mode=False)  # a model made inside could not be used outside
    def model(self, dtype: str | None = None) -> Model:
        """As it is loaded, in the lab's own or another dtype. Kept, and never changed."""
        wanted = dtype or self.dtype
        if wanted not in self._models:
            self._models[wanted] = self._load(wanted)
        return self._models[wanted]

    @torch.inference_mode(mode=False)
    def copy(self, dtype: str | None = None) -> Model:
        """One that may be changed."""
        model = self.model(dtype)
        return dataclasses.replace(model, pipe=copy.deepcopy(model.pipe), tiny_vae=copy.deepcopy(model.tiny_vae))

    @torch.inference_mode(mode=False)  # as a service does it
    def fast(self, speedups: Speedups, sides: Sequence[int], rows: Sequence[int], dtype: str | None = None) -> Model:
        """A copy on some rung, made ready for pictures of those sides and steps of so many rows."""
        sizes = tuple((side, side) for side in sides)
        wanted = msgspec.structs.replace(speedups, warm_sizes=sizes, warm_rows=tuple(rows))
        with patch.object(warming, "never_again", strict):
            return apply(self.copy(dtype), wanted, max_rows=max(rows), progress=self.say)

    def ready(self, speedups: Speedups, shapes_of: Callable[[Wrap], Iterable[Shape]]) -> None:
        """Compiles or records these shapes, and nothing else of their model."""
        with patch.object(warming, "never_again", strict), warming.getting_ready(self.device):
            shapes = list(shapes_of(partial(warming.wrapped, speedups)))
            if len(warming.warm_all(shapes, self.device, "making ready", self.say)) < len(shapes):
                raise MemoryError("the memory does not hold all shapes")

    def engine(self, model: Model, num_rows: int, aside: Aside | None = None) -> StepEngine:
        """One whose batches may have so many rows, whatever they take."""
        config = WorkerConfig(model=self.model_name, max_rows=max(2, num_rows), max_step_seconds=1e9)
        any_time = StepTime(pixels=1, rows=1, seconds=1.0)
        return StepEngine(dataclasses.replace(model, step_times=(any_time,)), config, aside)

    @cached_property
    def folder(self) -> Path:
        """The model as a service loads it; a random one is saved first, for as long as this process lives."""
        if self.model_name != FULL_SIZE:
            return Path(self.model_name)
        parent = Path(self._kept.enter_context(tempfile.TemporaryDirectory(prefix="latentcast-gpu-")))
        self.say("saving the model")
        return save(self.model().pipe, self.model().tiny_vae, parent / FULL_SIZE)

    def forget_models(self) -> None:
        """So that another process has the device for itself."""
        self._models.clear()
        self.release()

    def release(self) -> None:
        """Gives the device's memory back that nothing uses any more."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def _load(self, dtype: str) -> Model:
        """In another dtype it has the same weights, but for rounding."""
        if dtype != self.dtype:
            model = self.copy()
            model.pipe.to(DTYPES[dtype])
            return dataclasses.replace(model, tiny_vae=model.tiny_vae.to(DTYPES[dtype]), dtype=DTYPES[dtype])
        self.say(f"making the model in {dtype}")
        if self.model_name != FULL_SIZE:
            return load_model(WorkerConfig(model=self.model_name, device=str(self.device), dtype=dtype), self.say)  # type: ignore[arg-type]  # one of the names
        parts = full_size(self.device, DTYPES[dtype])
        return Model(
            name=FULL_SIZE,
            pipe=parts.pipe,
            tiny_vae=parts.tiny_vae,
            prototypes=Prototypes(parts.pipe.scheduler),
            device=self.device,
            dtype=DTYPES[dtype],
        )


def unet_inputs(unet: Any, num_rows: int, latent_side: int, num_tokens: int = 77) -> dict[str, Any]:
    """What an engine gives a UNet of the SDXL architecture: the same random numbers for any dtype and device."""
    config = unet.config
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(num_rows, *shape, generator=generator).to(unet.device, unet.dtype)

    return {
        "sample": random(config.in_channels, latent_side, latent_side),
        "timestep": torch.linspace(950, 50, num_rows).to(unet.device),
        "encoder_hidden_states": random(num_tokens, config.cross_attention_dim),
        "timestep_cond": None,
        "added_cond_kwargs": {
            "text_embeds": random(pooled),
            "time_ids": torch.full((num_rows, 6), 8.0 * latent_side).to(unet.device, unet.dtype),
        },
        "return_dict": False,
    }


def make_params(side: int, num_steps: int, **options: Any) -> GenerateParams:
    """A request with guidance and, unless told otherwise, without previews."""
    defaults: dict[str, Any] = {"prompt": "a red house by the sea", "preview_every": 0}
    return GenerateParams(width=side, height=side, num_steps=num_steps, **(defaults | options))


def running(params: GenerateParams, count: int) -> list[Request]:
    """Requests that an engine may run by itself, with seeds of their own."""
    return [
        Request(f"request-{seed}", msgspec.structs.replace(params, seed=seed), status=Status.RUNNING)
        for seed in range(count)
    ]
