"""Pictures a second of a full batch that never lacks work, against what the bare parts allow, and a lone pipeline."""

import io
import itertools

import msgspec
import torch

from benchmarks.comparison import Range
from benchmarks.engine.flow import Flow
from benchmarks.engine.goals import Goal
from benchmarks.engine.pace import Pace
from benchmarks.engine.parts import PartTimes, bound, mean_seconds, time_parts
from benchmarks.engine.workbench import Workbench
from benchmarks.tables import table
from scheduler.request import GenerateParams
from scheduler.sdxl.device import cpu_features

SHARE_OF_BOUND = 0.9
TIMES_PIPELINE = 1.9


class SaturationRound(msgspec.Struct, frozen=True, kw_only=True):
    """Pictures a second of the engine and of the pipeline; `bound` follows from `parts`.

    `mean_rows` are the rows of the engine's steps, `least_waiting` the fewest requests that waited at any of them.
    """

    engine: float
    bound: float
    pipeline: float
    mean_rows: float
    least_waiting: int
    parts: PartTimes


class Saturation(msgspec.Struct, frozen=True, kw_only=True, tag="saturation"):
    """Requests of `num_steps` steps with guidance, `size` pixels square; `max_rows` is the cap for them.

    `has_amx`: bfloat16 on a CPU that multiplies matrices of it.
    """

    size: int
    num_steps: int
    preview_every: int
    max_rows: int
    has_amx: bool
    rounds: list[SaturationRound]

    @property
    def goals(self) -> list[Goal]:
        against_bound = Range.of([each.engine / each.bound for each in self.rounds])
        against_pipeline = Range.of([each.engine / each.pipeline for each in self.rounds])
        amx = None if self.has_amx else "bfloat16 and AMX"
        return [
            Goal("images/s, of the bound", against_bound, at_least=SHARE_OF_BOUND, unit="%"),
            Goal("images/s, against a lone pipeline", against_pipeline, at_least=TIMES_PIPELINE, only_with=amx),
        ]

    def table(self) -> str:
        rows = [
            ("engine", *_cells([each.engine for each in self.rounds])),
            ("bound", *_cells([each.bound for each in self.rounds])),
            ("a lone pipeline, without previews", *_cells([each.pipeline for each in self.rounds])),
        ]
        parts = self.rounds[-1].parts
        return "\n".join(
            [
                table(("images/s", "median", "lowest", "highest"), rows),
                "",
                f"{self.size}x{self.size}, {self.num_steps} steps with guidance, a preview every {self.preview_every}; "
                f"at most {self.max_rows} rows. Bare parts of the last round: a UNet call of {parts.rows} rows "
                f"{_ms(parts.unet)}, of a picture the preview's decode {_ms(parts.preview_decode)} and encode "
                f"{_ms(parts.preview_encode)}, its own {_ms(parts.vae_decode)} and {_ms(parts.image_encode)}.",
            ]
        )


def measure(
    bench: Workbench,
    pace: Pace,
    *,
    num_steps: int = 20,
    preview_every: int = 5,
    repeats: int = 8,
    pipeline_images: int = 4,
) -> Saturation:
    """In every round: the engine, the bare parts, the pipeline."""
    params = bench.params(num_steps=num_steps, preview_every=preview_every)
    flow = Flow(bench, params)
    rounds = []
    for _ in pace.rounds():
        window = flow.run(num_steps)
        parts = time_parts(bench, params, repeats)
        rounds.append(
            SaturationRound(
                engine=window.images_per_second,
                bound=bound(parts, params),
                pipeline=1 / mean_seconds(PipelineLoop(bench, params).paint, pipeline_images),
                mean_rows=window.mean_rows,
                least_waiting=window.least_waiting,
                parts=parts,
            )
        )
    bench.clear()
    return Saturation(
        size=bench.size,
        num_steps=num_steps,
        preview_every=preview_every,
        max_rows=bench.cost.max_rows(params.pixels),
        has_amx=bench.engine.info.dtype == "bfloat16" and _has_amx(),
        rounds=rounds,
    )


class PipelineLoop:
    """`StableDiffusionXLPipeline` for one request after the other, to JPEG files in memory; no previews."""

    def __init__(self, bench: Workbench, params: GenerateParams) -> None:
        self._pipe = bench.model.pipe
        self._params = params
        self._seeds = itertools.count()

    def paint(self) -> bytes:
        params = self._params
        image = self._pipe(
            prompt=params.prompt,
            negative_prompt=params.negative_prompt,
            width=params.width,
            height=params.height,
            num_inference_steps=params.num_steps,
            guidance_scale=params.guidance_scale,
            generator=torch.Generator().manual_seed(next(self._seeds)),
        ).images[0]
        buffer = io.BytesIO()
        image.save(buffer, format=params.image_format, quality=params.image_quality)
        return buffer.getvalue()


def _has_amx() -> bool:
    return bool(cpu_features().get("amx_bf16"))


def _cells(values: list[float]) -> tuple[str, ...]:
    figures = Range.of(values)
    return tuple(f"{value:.2f}" for value in (figures.median, figures.min, figures.max))


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
