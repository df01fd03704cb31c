"""Seconds of one UNet call by rows, size and rung, and what share of the card's ceiling that is."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks.gpu.lab import Lab, unet_inputs
from benchmarks.gpu.likeness import exact_float32, relative_error
from benchmarks.gpu.limits import STEPS, count_row
from benchmarks.gpu.rungs import RUNGS
from benchmarks.gpu.scale import Scale
from benchmarks.gpu.stages.ceiling import bf16_flops
from benchmarks.gpu.store import Figures, Point
from benchmarks.gpu.tables import milliseconds, number
from benchmarks.gpu.tasks import Known, Level, Task
from benchmarks.gpu.timing import Work, interleaved, synchronize
from benchmarks.tables import table as table_of
from scheduler.engine import describe
from scheduler.sdxl.weights import Model

Shape = tuple[int, int]
"""Side of the picture in pixels, and rows."""

Key = tuple[int, int, str]
"""A shape, and a rung."""

GROUND = ("eager",)
COMPILED = ("eager", "fastest attention", "compile")
CHEAP = ("eager", "channels_last", "fused QKV", "fastest attention")
GRAPHS = ("fastest attention", "CUDA graphs", "compile", "compile, CUDA graphs")
TOPS = ("compile", "compile, channels first", "compile, PyTorch's attention", "compile, cuDNN's search")
TUNED = ("compile", "max-autotune")
DTYPES = ("eager", "float16", "float32")
COMPILE_SECONDS = 120


def tasks(scale: Scale) -> list[Task]:
    """What tells most comes first: the two sizes that matter, plain and compiled; the ladder; then the batch curve.

    The first size alone is enough to load the service on a rung that is fast.
    """
    first, second = scale.first[:1], scale.first[1:]
    curve = [(side, rows) for side in scale.sizes for rows in scale.rows]
    wanted = [
        *_at(scale, first, GROUND, level=0, seconds=20),
        *_at(scale, second, GROUND, level=1, seconds=20),
        *_at(scale, first, COMPILED, level=0, seconds=COMPILE_SECONDS),
        *_at(scale, second, COMPILED, level=1, seconds=COMPILE_SECONDS),
        *_at(scale, first, CHEAP, level=1, seconds=40),
        *_at(scale, [shape for shape in curve if shape[0] in scale.sizes[:2]], GROUND, level=1, seconds=10),
        *_at(scale, first, GRAPHS, level=1, seconds=COMPILE_SECONDS),
        *_at(scale, first, TOPS, level=1, seconds=2 * COMPILE_SECONDS),
        *_at(scale, second, CHEAP, level=2, seconds=40),
        *_at(scale, second, GRAPHS, level=2, seconds=COMPILE_SECONDS),
        *_at(scale, curve, GROUND, level=2, seconds=10),
        *_at(scale, scale.first, TUNED, level=2, seconds=2 * COMPILE_SECONDS),
        *_at(scale, scale.first, DTYPES, level=2, seconds=40),
        *_at(scale, curve, COMPILED, level=2, seconds=COMPILE_SECONDS),
    ]
    tasks_: dict[str, Task] = {}
    for task in wanted:
        tasks_.setdefault(task.name, task)
    return list(tasks_.values())


def _at(scale: Scale, shapes: Iterable[Shape], rungs: Sequence[str], *, level: Level, seconds: float) -> Iterator[Task]:
    """A task for each shape; none where nothing would be left to compare."""
    there = [rung for rung in rungs if rung in scale.rungs]
    for side, rows in shapes if len(there) >= min(2, len(rungs)) else ():
        name = f"{side}, {rows} rows: {'; '.join(there)}"
        yield Task(name, level, seconds, partial(measure, side=side, rows=rows, rungs=there))


@torch.inference_mode()
def measure(lab: Lab, side: int, rows: int, rungs: Sequence[str]) -> list[Point]:
    """All rungs by turns, each on a copy of its own. One that this machine cannot climb gives its reason."""
    climbed: dict[str, Climbed] = {}
    points = []
    reference = _reference(lab, side, rows) if len(rungs) > 1 else None
    for rung in rungs:
        try:
            climbed[rung] = _climb(lab, rung, side, rows, reference)
        except Exception as error:  # noqa: BLE001 - a compiler raises anything; the other rungs are still of use
            points.append(_point(side, rows, rung, {}, error=describe(error)))
    pipe = lab.model().pipe
    flop = rows * count_row(pipe.unet, side // pipe.vae_scale_factor)
    works = {rung: each.call for rung, each in climbed.items()}
    seconds = interleaved(works, lab.scale.rounds, lab.device, lab.scale.least_seconds)
    for rung, each in climbed.items():
        figures = {"seconds": seconds[rung], "flop": [flop], **each.figures, **_ratio(rung, seconds)}
        points.append(_point(side, rows, rung, figures))
    return points


def _ratio(rung: str, seconds: Figures) -> Figures:
    """By round, how many times as fast as the rung below, where both took turns."""
    below = seconds.get(RUNGS[rung].below or "")
    return {"ratio": [b / s for b, s in zip(below, seconds[rung], strict=True)]} if below else {}


def merged(points: Iterable[Point]) -> dict[Key, Point]:
    """One for each side, rows and rung: the newest figures, but "ready" from when nothing was in the compiler's cache.

    A failure counts only where nothing was ever measured.
    """
    found: dict[Key, Point] = {}
    for point in points:
        earlier = found.get(_key(point))
        if earlier is None or not earlier.figures:
            found[_key(point)] = point
        elif point.figures:
            figures = earlier.figures | point.figures | {"ready": earlier.figures["ready"]}
            found[_key(point)] = Point(what=point.what, figures=figures)
    return found


def fastest(points: Iterable[Point], shape: Shape) -> str | None:
    """The rung for a service: of those that keep the dtype and the picture, and are ready soon enough."""
    seconds = {
        rung: point.median("seconds")
        for (side, rows, rung), point in merged(points).items()
        if (side, rows) == shape and point.figures and _is_usable(rung)
    }
    return min(seconds, key=lambda rung: seconds[rung], default=None)


def _is_usable(rung: str) -> bool:
    wanted = RUNGS[rung]
    return wanted.dtype is None and not wanted.speedups.float8 and wanted.speedups.compile != "max-autotune"


def table(known: Known) -> str:
    """Of each shape and rung what was measured last; a share of the ceiling where that was measured too."""
    ceiling = bf16_flops(known)
    rows = [_row(point, ceiling) for _, point in sorted(merged(known("steps")).items(), key=_order)]
    header = (
        "size",
        "rows",
        "rung",
        "ms a step",
        "TFLOP/s",
        "of the bf16 ceiling",
        "against",
        "images/s",
        "ready in",
        "error",
    )
    note = f"images/s: of the UNet alone, at {STEPS} steps with guidance; error: of its output, relative to float32."
    return f"{table_of(header, rows)}\n\n{note}" if rows else ""


@dataclass(frozen=True, slots=True)
class Climbed:
    """A call of the UNet on a rung; the seconds it took to be `ready`, and its relative `error` against float32."""

    call: Work
    figures: Figures


def _climb(lab: Lab, rung: str, side: int, rows: int, reference: Tensor | None) -> Climbed:
    began = time.perf_counter()
    wanted = RUNGS[rung]
    call = unet_call(lab.fast(wanted.speedups, [side], [rows], wanted.dtype), side, rows)
    noise = call()[0]
    synchronize(lab.device)
    figures = {"ready": [time.perf_counter() - began]}
    if reference is not None:
        figures["error"] = [relative_error(noise, reference)]
    return Climbed(call, figures)


def _reference(lab: Lab, side: int, rows: int) -> Tensor:
    with exact_float32():
        noise: Tensor = unet_call(lab.model("float32"), side, rows)()[0]
    return noise


def unet_call(model: Model, side: int, rows: int) -> Callable[[], tuple[Tensor]]:
    """Of its UNet, with the same random inputs for every dtype."""
    pipe = model.pipe
    inputs = unet_inputs(pipe.unet, rows, side // pipe.vae_scale_factor, pipe.tokenizer_2.model_max_length)
    return partial(pipe.unet, inputs.pop("sample"), inputs.pop("timestep"), **inputs)


def _point(side: int, rows: int, rung: str, figures: dict[str, list[float]], **more: str) -> Point:
    return Point(what={"side": side, "rows": rows, "rung": rung, **more}, figures=figures)


def _key(point: Point) -> Key:
    return int(point.what["side"]), int(point.what["rows"]), str(point.what["rung"])


def _order(item: tuple[Key, Point]) -> tuple[int, int, int]:
    side, rows, rung = item[0]
    return side, rows, list(RUNGS).index(rung)


def _row(point: Point, ceiling: float | None) -> tuple[str, ...]:
    side, rows, rung = _key(point)
    start = (f"{side}x{side}", str(rows), rung)
    if "error" in point.what:
        return (*start, str(point.what["error"]), "", "", "", "", "", "")
    seconds = point.median("seconds")
    rate = point.figures["flop"][0] / seconds
    return (
        *start,
        milliseconds(point.figures["seconds"]),
        number(rate / 1e12),
        f"{rate / ceiling:.0%}" if ceiling else "",
        _against(point, rung),
        f"{rows / 2 / STEPS / seconds:.2f}",
        f"{point.figures['ready'][0]:.0f} s",
        f"{point.figures['error'][0]:.1e}" if "error" in point.figures else "",
    )


def _against(point: Point, rung: str) -> str:
    """How many times as fast as the rung below."""
    return f"{point.median('ratio'):.2f}x {RUNGS[rung].below}" if "ratio" in point.figures else ""
