"""Every setting, as a flag and as an environment variable; a bad value is told in one line."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import BeforeValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from scheduler.messages import Lora, Speedups, WorkerConfig
from scheduler.postcard import bundled_model
from scheduler.request import SamplerName

ENV_PREFIX = "LATENTCAST_"


class SettingsError(Exception):
    """A setting is wrong; the message is one line that names it, its value and what is allowed."""


class Hidden(NamedTuple):
    """Marks a setting that `--help` does not show."""


class Repeated(NamedTuple):
    """Marks a setting whose flag may be given again. `one` shows what one looks like."""

    one: str


class Bare(NamedTuple):
    """Marks a setting whose flag may stand without a value, and then means this one."""

    value: str


NumRows = Annotated[int, Ge(1)]

LORA = re.compile(r"(?P<path>.+?)(:(?P<scale>[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)))?")


def parse_loras(value: object) -> object:
    """`style, detail:0.6` -> one `Lora` each. A colon belongs to the path unless a number follows it to the end."""
    if not isinstance(value, str):
        return value
    matches = [LORA.fullmatch(part.strip()) for part in value.split(",")]
    return tuple(Lora(match["path"], float(match["scale"] or 1)) for match in matches if match)


def parse_sizes(value: object) -> object:
    """`512x512, 1024x1024` -> width and height of each."""
    return tuple(tuple(part.split("x")) for part in value.split(",")) if isinstance(value, str) else value


def parse_numbers(value: object) -> object:
    """`4, 8` -> both."""
    return tuple(value.split(",")) if isinstance(value, str) else value


class ModelSettings(BaseSettings):
    """What is painted with, and how."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    model: str = Field(default_factory=lambda: str(bundled_model()))
    """An SDXL diffusers folder or hub id; by default Postcard, the small model that ships with Latentcast."""
    preview_model: str | None = None
    """The tiny VAE that decodes previews, a folder or hub id; by default the model's own, if it brings one."""
    vae: str | None = None
    """A VAE in place of the model's own, a folder or hub id, such as one that is sound in float16."""
    lora: Annotated[tuple[Lora, ...], NoDecode, BeforeValidator(parse_loras), Repeated("PATH[:SCALE]")] = ()
    """LoRA weights to add to the model; may be given again, or several at once with commas between."""
    sampler: SamplerName | None = None
    """How noise is taken away where a request does not say; by default the model's own way."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the model; auto chooses by device."""
    device: str = "auto"
    """Where the model runs, such as cpu, cuda, cuda:1, mps; auto takes the best there is, each worker its own card."""
    threads: int = Field(0, ge=0, le=1024)
    """CPU threads of a worker; 0 takes as many as the machine has cores."""
    engine: Annotated[Literal["sdxl", "fake"], Hidden()] = "sdxl"
    """fake paints plain colours without a model, to load the front end."""
    fake_step_ms: Annotated[float, Hidden()] = Field(0.0, ge=0, le=60_000)
    """Milliseconds that the fake engine takes for a step."""

    def worker_config(self, **more: Any) -> WorkerConfig:
        return WorkerConfig(
            engine=self.engine,
            model=self.model,
            preview_model=self.preview_model,
            vae=self.vae,
            loras=self.lora,
            sampler=self.sampler,
            device=self.device,
            dtype=self.dtype,
            threads=self.threads,
            fake_step_seconds=self.fake_step_ms / 1000,
            **more,
        )


class SpeedSettings(ModelSettings):
    """What makes the model faster."""

    channels_last: bool = False
    """Lay the networks' tensors out with the channels last, as convolutions on tensor cores want them."""
    fuse_qkv: bool = False
    """One multiplication for query, key and value of the UNet's attention."""
    attention: Literal["auto", "fastest", "flash", "cudnn", "efficient", "math"] = "auto"
    """Which of PyTorch's kernels the UNet's attention runs in; fastest times them for each shape at start."""
    compile: Annotated[Literal["off", "default", "max-autotune"], Bare("default")] = "off"
    """Compile the UNet before the service is ready, for a few batch sizes; rows are padded to them. Alone: default."""
    cuda_graphs: bool = False
    """Record the UNet's kernels as CUDA graphs for the same batch sizes, so that none waits for the program."""
    float8: bool = False
    """Multiply in float8 in the UNet's transformers; the pictures change somewhat."""
    cudnn_benchmark: bool = False
    """Let cuDNN time its kernels for the convolutions of all that is compiled or recorded, and take the fastest."""
    warm_vae: bool = False
    """Compile or record the VAE's decoder too."""
    warm_previews: bool = False
    """Compile or record the decoder of previews too."""
    warm_text: bool = False
    """Compile or record the text encoders too."""
    warm_sizes: Annotated[tuple[tuple[int, int], ...], NoDecode, BeforeValidator(parse_sizes), Repeated("WxH")] = ()
    """Picture sizes to compile or record for, by default the model's own; may be given again or with commas between."""
    warm_rows: Annotated[tuple[NumRows, ...], NoDecode, BeforeValidator(parse_numbers), Repeated("N")] = ()
    """UNet rows to compile or record for, by default 1, 2, 3, 4, 6, 8, 12 and so on; likewise."""

    def worker_config(self, **more: Any) -> WorkerConfig:
        speedups = Speedups(**{name: getattr(self, name) for name in Speedups.__struct_fields__})
        return super().worker_config(speedups=speedups, **more)


class BatchSettings(SpeedSettings):
    """How many requests run at once."""

    max_rows: int = Field(32, ge=2, le=1024)
    """Most UNet rows in a step; a request with guidance takes two."""
    step_ms: float = Field(1000.0, ge=1, le=600_000)
    """Milliseconds: a batch grows beyond where it pays as long as a step takes no longer."""
    calibration: Literal["auto", "skip", "fresh"] = "auto"
    """auto measures the model's speed once and keeps it, fresh measures at each start, skip guesses from one step."""
    cache_dir: str | None = None
    """Folder in which measured speeds are kept; by default latentcast in the user's cache folder."""

    def worker_config(self, **more: Any) -> WorkerConfig:
        return super().worker_config(
            max_rows=self.max_rows,
            max_step_seconds=self.step_ms / 1000,
            calibration=self.calibration,
            cache_dir=self.cache_dir,
            **more,
        )


class ServeSettings(BatchSettings):
    """The service's settings."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    workers: int = Field(1, ge=1, le=64)
    """Worker processes, one for each device."""
    batching: Literal["step", "call"] = "step"
    """step: requests join and leave between denoising steps; call: one pipeline call for each batch."""
    call_batch: int = Field(8, ge=1, le=512)
    """Most requests in a batch, with --batching call."""
    call_wait_ms: int = Field(50, ge=0, le=60_000)
    """Milliseconds for which a batch waits for more requests, with --batching call."""
    max_queue_cost: float = Field(20_000.0, ge=0)
    """Most work that may wait, in UNet row-steps at the model's own size: 40 for 20 steps with guidance."""
    deadline: float = Field(600.0, ge=0, le=86_400)
    """Seconds after which a generation that is not finished fails; a request may ask for less. 0: never."""
    grace: float = Field(15.0, ge=0, le=3600)
    """Seconds that a generation made by GET /generate goes on without a watcher."""
    keep_alive: float = Field(15.0, ge=0.01, le=3600)
    """Seconds from one keep-alive comment to the next on an event stream that has nothing else to say."""
    keep_minutes: float = Field(10.0, ge=0, le=10_080)
    """Minutes for which finished generations can be fetched."""
    keep_mib: float = Field(64.0, ge=0)
    """Most memory for finished pictures, in MiB; the oldest go first."""
    drain_timeout: float = Field(30.0, ge=0, le=3600)
    """Seconds that running generations get to finish when the service is stopped."""
    tls_cert: Path | None = None
    """Certificate of a second, TLS listener of the same service, a PEM file; `latentcast dev-cert` makes one to try."""
    tls_key: Path | None = None
    """Key of the TLS listener's certificate, a PEM file without a password."""
    tls_port: int = Field(8443, ge=0, le=65535)
    """Port of the TLS listener; 0 takes a free one."""
    metrics_port: int | None = Field(None, ge=0, le=65535)
    """Port for /metrics alone, which then needs no key and is not on the others; by default it is on the main port."""
    api_key_file: Path | None = None
    """Names and hashes of API keys, one `name:sha256` a line; with it, nobody is let in without a key."""
    key_concurrency: int = Field(0, ge=0, le=1_000_000)
    """Most generations that one API key may have waiting or running; 0: as many as there is room for."""
    key_rate: float = Field(0.0, ge=0)
    """Most work that one API key may ask for, in UNet row-steps a second at the model's own size; 0: any."""
    key_streams: int = Field(0, ge=0, le=1_000_000)
    """Most event streams and WebSockets that one API key may have open; 0: as many as there is room for."""
    cors_origins: str = ""
    """Web sites that browsers may use the service from, such as https://example.com, with commas between; * for all."""
    access_log: bool = False
    """Log every request: method, path, status, time. Never the query, which may hold a prompt."""

    def serve_worker_config(self) -> WorkerConfig:
        return self.worker_config(
            batching=self.batching,
            call_batch=self.call_batch,
            call_wait_ms=self.call_wait_ms,
        )


KINDS = {
    str(int): "a whole number",
    str(int | None): "a whole number",
    str(float): "a number",
    str(bool): "true or false",
    str(tuple[tuple[int, int], ...]): "widths and heights in pixels, such as 512x512,1024x1024",
    str(tuple[NumRows, ...]): "whole numbers, such as 4,8,16",
}

Settings = TypeVar("Settings", bound=ModelSettings)


def load_settings(kind: type[Settings], flags: Mapping[str, str]) -> Settings:
    """From flags, by field name, and else from the environment. Raises `SettingsError`."""
    try:
        return kind(**flags)  # type: ignore[arg-type]  # text, as in the environment: pydantic parses it
    except ValidationError as error:
        wrong = dict.fromkeys(str(details["loc"][0]) for details in error.errors())
        values = {str(details["loc"][0]): details["input"] for details in error.errors()}
        lines = [f"{_source(name, values[name], flags)}: must be {allowed(kind.model_fields[name])}" for name in wrong]
        raise SettingsError("; ".join(lines)) from error


def flag_name(field: str) -> str:
    return "--" + field.replace("_", "-")


def choices(field: FieldInfo) -> Sequence[str]:
    """The names a setting may have; none where it is no choice between names."""
    kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType]
    literal = kinds[0] if len(kinds) == 1 else field.annotation
    return get_args(literal) if get_origin(literal) is Literal else ()


def allowed(field: FieldInfo) -> str:
    """What a setting may be, in words: `a whole number from 0 to 65535`."""
    if names := choices(field):
        return "one of " + ", ".join(names)
    kind = KINDS.get(str(field.annotation), "text")
    low = next((item.ge for item in field.metadata if isinstance(item, Ge)), None)
    high = next((item.le for item in field.metadata if isinstance(item, Le)), None)
    if low is None:
        return kind
    return f"{kind} from {low:g} to {high:g}" if high is not None else f"{kind} of at least {low:g}"


def _source(name: str, value: object, flags: Mapping[str, str]) -> str:
    return f"{flag_name(name)} {flags[name]}" if name in flags else f"{ENV_PREFIX}{name.upper()}={value}"
