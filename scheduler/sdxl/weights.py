"""A loaded model of the SDXL architecture, and what is told of it."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from scheduler.engine import LoadError
from scheduler.messages import DeviceMemory, ModelInfo, StepPeak, StepTime, WorkerConfig
from scheduler.padding import padded
from scheduler.postcard import bundled_model
from scheduler.request import GenerateParams, SamplerName
from scheduler.sdxl.device import choose_device, choose_dtype, notes
from scheduler.sdxl.loras import fuse_loras
from scheduler.sdxl.pretrained import HUB_ID, Reader
from scheduler.sdxl.preview import PreviewDecoder, check_fit, find_preview_model
from scheduler.sdxl.prototypes import Prototypes
from scheduler.sdxl.sampler import Sampler
from scheduler.sdxl.untyped import NoiseSampler, Pipeline, TinyVae, Vae

MIN_SIZE = 64
READING_SECONDS = 1.0  # that a reading of the device's memory holds: to ask the driver for one takes time


@dataclass(slots=True)
class MemoryReading:
    """Bytes used and there in all, and when they were read."""

    used: int = 0
    total: int = 0
    read_at: float = -math.inf


@dataclass(frozen=True, slots=True)
class Model:
    """`step_times` are there once it is calibrated, and `memory_use` where that can be measured. `row_counts`: the
    numbers of rows that UNet calls are padded to, by width and height of the picture; other sizes are not padded.
    `ready_peaks`: what memory steps took of sizes and rows that were made ready. `preview_decoder`: if it was, too.
    """

    name: str
    pipe: Pipeline
    tiny_vae: TinyVae
    prototypes: Prototypes
    device: torch.device
    dtype: torch.dtype
    step_times: tuple[StepTime, ...] = ()
    row_counts: Mapping[tuple[int, int], Sequence[int]] = field(default_factory=dict)
    ready_peaks: Sequence[StepPeak] = ()
    preview_decoder: PreviewDecoder | None = None
    memory_use: DeviceMemory | None = None
    memory_reading: MemoryReading = field(default_factory=MemoryReading, compare=False, repr=False)

    @property
    def is_distilled(self) -> bool:
        """Whether the guidance scale is an input of the UNet, so that guidance takes no second row."""
        return self.pipe.unet.config.time_cond_proj_dim is not None

    def make_sampler(self, name: SamplerName | None) -> Sampler:
        """A noise sampler for one run; None for the one that requests get which ask for none."""
        return Sampler(self.prototypes.get(name), self.dtype)

    @property
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    def memory(self) -> tuple[int, int]:
        """Bytes used and there in all on the device, lately; 0 on a CPU, whose memory is not the model's."""
        if self.device.type != "cuda":
            return 0, 0
        reading, now = self.memory_reading, time.monotonic()
        if now - reading.read_at >= READING_SECONDS:
            free, reading.total = torch.cuda.mem_get_info(self.device)
            reading.used, reading.read_at = reading.total - free, now
        return reading.used, reading.total

    def latent_shape(self, params: GenerateParams) -> tuple[int, int, int, int]:
        factor = self.pipe.vae_scale_factor
        return (1, self.pipe.unet.config.in_channels, params.height // factor, params.width // factor)

    def num_padding(self, num_rows: int, params: GenerateParams) -> int:
        """Rows by which a UNet call of so many is padded."""
        return padded(num_rows, self.row_counts.get((params.width, params.height), ())) - num_rows

    @property
    def default_size(self) -> int:
        """Pixels of either side."""
        return int(self.pipe.default_sample_size * self.pipe.vae_scale_factor)

    @property
    def max_size(self) -> int:
        return max(2 * self.default_size, MIN_SIZE)

    @property
    def size_multiple(self) -> int:
        """Sides are multiples of it; the pipeline itself wants multiples of 8."""
        return math.lcm(8, self.pipe.vae_scale_factor)

    def info(self, config: WorkerConfig) -> ModelInfo:
        return ModelInfo(
            name=self.name,
            default_width=self.default_size,
            default_height=self.default_size,
            size_multiple=self.size_multiple,
            min_size=MIN_SIZE,
            max_size=self.max_size,
            device=str(self.device),
            dtype=self.dtype_name,
            batching=config.batching,
            max_rows=config.max_rows,
            max_step_seconds=config.max_step_seconds,
            step_times=self.step_times,
            row_counts={width * height: tuple(counts) for (width, height), counts in self.row_counts.items()},
            memory=self.memory_use,
            sampler=self.prototypes.default_name,
            samplers=self.prototypes.names,
            guidance_rows=1 if self.is_distilled else 2,
        )


def load_model(config: WorkerConfig, progress: Callable[[str], None]) -> Model:
    """Load, cast and move to the device. Raises `LoadError`."""
    device = choose_device(config.device, config.index)
    dtype = choose_dtype(config.dtype, device)
    for note in notes(config.device, device, config.dtype, dtype):
        progress(note)
    if config.threads:
        torch.set_num_threads(config.threads)
    is_remote = HUB_ID.fullmatch(config.model) and not Path(config.model).exists()
    origin = " from the Hugging Face hub, it is no folder here" if is_remote else ""
    progress(f"loading the model {config.model}{origin}")
    reader = Reader(dtype, device, progress)
    pipe = _load_pipeline(config, reader)
    prototypes = _prototypes(pipe.scheduler, config)
    tiny_vae = _load_preview_vae(config, pipe, reader)
    return Model(
        name=_name(config.model),
        pipe=pipe,
        tiny_vae=tiny_vae,
        prototypes=prototypes,
        device=device,
        dtype=dtype,
    )


def _load_pipeline(config: WorkerConfig, reader: Reader) -> Pipeline:
    pipe = reader.read_pipeline(config.model, flag="--model")
    if config.vae is not None:
        pipe.vae = _load_vae(config.vae, config.model, pipe, reader)
    if reader.dtype == torch.float16 and pipe.vae.config.force_upcast:
        pipe.vae.to(torch.float32)  # for good: it overflows in half precision, and is never cast to and fro
    fuse_loras(pipe, config.loras)
    if pipe.unet.config.time_cond_proj_dim is not None:
        pipe.unet.time_embedding.cond_proj.register_forward_pre_hook(_in_dtype_of_layer)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _in_dtype_of_layer(layer: torch.nn.Linear, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """The pipeline embeds the guidance scale in the dtype of the latents, which stay in fp32 here."""
    return (inputs[0].to(layer.weight.dtype),)


def _load_vae(source: str, model: str, pipe: Pipeline, reader: Reader) -> Vae:
    vae = reader.read_part("vae", source, flag="--vae")
    if reason := check_fit(vae, pipe.unet.config.in_channels, pipe.vae_scale_factor):
        raise LoadError(f"the VAE {source} does not fit {model}: {reason}; change --vae")
    return vae


def _prototypes(own: NoiseSampler, config: WorkerConfig) -> Prototypes:
    try:
        return Prototypes(own, config.sampler)
    except ValueError as error:
        raise LoadError(f"{config.model} cannot be used: {error}") from error


def _load_preview_vae(config: WorkerConfig, pipe: Pipeline, reader: Reader) -> TinyVae:
    source, subfolder = find_preview_model(config.model, config.preview_model)
    tiny_vae = reader.read_part("preview_vae", source, flag="--preview-model", subfolder=subfolder)
    if reason := check_fit(tiny_vae, pipe.unet.config.in_channels, pipe.vae_scale_factor):
        raise LoadError(f"the preview model {source} does not fit {config.model}: {reason}; change --preview-model")
    return tiny_vae


def _name(model: str) -> str:
    """What people call the model: a hub id, or the name of a folder."""
    path = Path(model).resolve()
    if not path.is_dir():
        return model
    return "postcard" if path == bundled_model() else path.name
