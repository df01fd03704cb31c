"""All that crosses the socket between the service and a worker."""

from typing import Annotated, Literal

import msgspec

from scheduler.request import GenerateParams, SamplerName


class Lora(msgspec.Struct, frozen=True):
    """Low-rank weights to add to a model; `path` is a file, a folder or a hub id."""

    path: str
    scale: float = 1.0


class Speedups(msgspec.Struct, frozen=True, kw_only=True):
    """What makes the model faster without changing what it computes, but for rounding. Each works by itself.

    `compile` and `cuda_graphs` need shapes that do not vary: rows are padded, see `scheduler/padding.py`. `warm_sizes`
    are the widths and heights in pixels that they are made ready for at start, by default the model's own; `warm_rows`
    the numbers of rows, by default powers of two and 1.5 times those. What they are not ready for runs as without them.
    `warm_vae`, `warm_previews` and `warm_text` are for the VAE's decoder, the tiny VAE and the text encoders too, and
    `cudnn_benchmark` for the convolutions of all that is made ready. `float8` is for the linear layers of the UNet's
    transformers, and does change the picture.
    """

    channels_last: bool = False
    fuse_qkv: bool = False
    # auto: PyTorch chooses; fastest: for each shape the one that was fastest when the worker started
    attention: Literal["auto", "fastest", "flash", "cudnn", "efficient", "math"] = "auto"
    compile: Literal["off", "default", "max-autotune"] = "off"
    cuda_graphs: bool = False
    float8: bool = False
    cudnn_benchmark: bool = False
    warm_vae: bool = False
    warm_previews: bool = False
    warm_text: bool = False
    warm_sizes: tuple[tuple[int, int], ...] = ()
    warm_rows: tuple[int, ...] = ()


class WorkerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker process is started with (JSON on its command line)."""

    engine: Literal["sdxl", "fake"] = "sdxl"
    model: str
    preview_model: str | None = None
    vae: str | None = None  # in place of the model's own
    loras: tuple[Lora, ...] = ()
    sampler: SamplerName | None = None  # None: the model's own
    calibration: Literal["auto", "skip", "fresh"] = "auto"  # auto: from the cache where it is there
    cache_dir: str | None = None  # None: the user's own
    device: str = "auto"
    index: int = 0  # among the workers of one service, which share the devices out
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    speedups: Speedups = Speedups()
    batching: Literal["step", "call"] = "step"
    max_rows: int = 32
    max_step_seconds: float = 1.0  # a batch grows beyond where it pays as long as a step takes no longer
    call_batch: int = 8
    call_wait_ms: int = 50
    threads: int = 0  # 0: as many as the machine has cores
    fake_step_seconds: float = 0.0  # the fake engine's time for a step

    def __post_init__(self) -> None:
        if self.max_rows < 2:
            raise ValueError("max_rows must be at least 2: a request with guidance takes two rows")
        if self.call_batch < 1:
            raise ValueError("call_batch must be at least 1")


class StepTime(msgspec.Struct, frozen=True):
    """A measured denoising step of `rows` UNet rows, each of `pixels` pixels of picture."""

    pixels: Annotated[int, msgspec.Meta(ge=1)]
    rows: Annotated[int, msgspec.Meta(ge=1)]
    seconds: Annotated[float, msgspec.Meta(gt=0)]


class StepPeak(msgspec.Struct, frozen=True):
    """The most memory that a denoising step of `rows` UNet rows took, each of `pixels` pixels of picture.

    `num_bytes` is what it took besides the model's weights, and whatever else it holds between steps.
    """

    pixels: int
    rows: int
    num_bytes: int


class DeviceMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of a device's memory; `Room` tells what fits into it.

    `available` is what the worker may have in all, `resting` what it has between steps. `decode_peak` is what the full
    VAE takes besides, for pictures of `decode_pixels` together; there is at least one of `step_peaks`.
    """

    available: int
    resting: int
    step_peaks: tuple[StepPeak, ...]
    decode_peak: int
    decode_pixels: int


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the front end must know of a loaded model to validate requests. Sizes in pixels.

    `max_rows` bounds every batch; `step_times`, from which `CostModel` tells how far each size fills it, holds at least
    one. `guidance_rows`: the rows that a request with guidance takes. `row_counts`, by pixels of the picture: the
    numbers of rows that steps are padded to; those of other sizes are not. `memory`: None where it cannot be measured.
    """

    name: str
    default_width: int
    default_height: int
    size_multiple: int
    min_size: int
    max_size: int
    device: str
    dtype: str
    batching: str
    max_rows: int
    max_step_seconds: float
    step_times: tuple[StepTime, ...]
    sampler: SamplerName | None  # None: the model's own is not one of those that have a name
    samplers: tuple[SamplerName, ...]
    guidance_rows: Literal[1, 2] = 2
    row_counts: dict[int, tuple[int, ...]] = {}
    memory: DeviceMemory | None = None


# From the service to a worker.


class Add(msgspec.Struct, frozen=True, tag=True):
    request_id: str
    params: GenerateParams


class Abort(msgspec.Struct, frozen=True, tag=True):
    request_id: str


class Drain(msgspec.Struct, frozen=True, tag=True):
    """Finish what was accepted, then exit."""


Command = Add | Abort | Drain


# From a worker to the service. Every accepted request gets `Started` at most once and exactly one of
# `Finished`, `Failed`, `Cancelled`; previews may be dropped in favour of newer ones.


class Loading(msgspec.Struct, frozen=True, tag=True):
    """Start-up progress, for people: "loading the model", "warming up"."""

    message: str


class Ready(msgspec.Struct, frozen=True, tag=True):
    info: ModelInfo


class StartFailed(msgspec.Struct, frozen=True, tag=True):
    """The model cannot be loaded; `message` is one line that says what to do. The worker exits after it."""

    message: str


class Started(msgspec.Struct, frozen=True, tag=True):
    request_id: str


class Preview(msgspec.Struct, frozen=True, tag=True):
    """`step` counts completed steps, 1..total_steps."""

    request_id: str
    step: int
    total_steps: int
    width: int
    height: int
    content_type: str
    data: bytes


class Finished(msgspec.Struct, frozen=True, tag=True):
    """`prompt_truncated`: the prompt or the negative one was longer than the text encoders read. Timings in seconds."""

    request_id: str
    width: int
    height: int
    content_type: str
    data: bytes
    prompt_truncated: bool
    timings: dict[str, float]


class Failed(msgspec.Struct, frozen=True, tag=True):
    """`code` is for programs (`engine_error`, `out_of_memory`, `deadline`, `encode_error`, `worker_lost`), `message`
    for people.
    """

    request_id: str
    code: str
    message: str


class Cancelled(msgspec.Struct, frozen=True, tag=True):
    request_id: str


RequestEvent = Started | Preview | Finished | Failed | Cancelled


class StepStats(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Numbers of one step, for the service's metrics.

    `stages` maps a stage to the seconds it took. `max_rows` is the cap for the step's size. `out_of_memory` counts how
    often the batch had to be halved, `prompt_hits` and `prompt_misses` texts that were and were not remembered.
    """

    step_counter: int
    batch_size: int
    num_rows: int
    padded_rows: int
    max_rows: int
    useful_pixels: int
    padded_pixels: int
    duration: float
    stages: dict[str, float]
    waiting: int
    running: int
    previews: int
    previews_coalesced: int
    memory_used: int
    memory_total: int
    out_of_memory: int = 0
    prompt_hits: int = 0
    prompt_misses: int = 0


class Heartbeat(msgspec.Struct, frozen=True, tag=True):
    """Sent every second, whatever the loop does; a hung loop shows as a step counter that stands still."""

    step_counter: int
    running: int


Report = Loading | Ready | StartFailed | Started | Preview | Finished | Failed | Cancelled | StepStats | Heartbeat
