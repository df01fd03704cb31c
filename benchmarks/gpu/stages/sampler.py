"""What a step takes beside the UNet: the engine against the bare call, noise samplers, and a profile of the kernels."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from torch import Tensor
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.lab import Lab, make_params, running
from benchmarks.gpu.scale import Scale
from benchmarks.gpu.stages.steps import unet_call
from benchmarks.gpu.store import Label, Point
from benchmarks.gpu.tables import milliseconds
from benchmarks.gpu.tasks import Known, Task
from benchmarks.gpu.timing import Work, interleaved, synchronize
from benchmarks.tables import table as table_of
from scheduler.request import Request
from scheduler.sdxl.admission import Admission
from scheduler.sdxl.memory import Memory
from scheduler.sdxl.rows import gather
from scheduler.sdxl.step_engine import StepEngine
from scheduler.sdxl.stepping import advance
from scheduler.sdxl.trajectory import Trajectory

ENDLESS_STEPS = 500
"""Of requests that never come to their picture."""
MOST_ROUNDS = 4
"""Of what takes far less than a step, so that requests do not come to their end."""
PROFILED_STEPS = 5
TOP_KERNELS = 15
LONGEST_NAME = 60
ENGINE, BARE = "engine", "bare UNet call"
TOGETHER, EACH = "all rows at once", "diffusers' own for each request"


@dataclass(frozen=True, slots=True)
class Kernel:
    """One run of a kernel on the device; in microseconds."""

    name: str
    start: float
    end: float


def tasks(scale: Scale) -> list[Task]:
    """A step is hardest to keep free of gaps where it is short, so few rows are looked at too."""
    shapes = list(dict.fromkeys([*scale.first, (scale.first[-1][0], scale.rows[1])]))
    steps = [
        Task(f"{name} {side}, {rows} rows", 1, 60, partial(work, side=side, rows=rows))
        for side, rows in shapes
        for name, work in (("step", measure_step), ("profile", measure_profile))
    ]
    side, rows = scale.first[-1]
    samplers = Task(f"samplers {side}, {rows} rows", 1, 40, partial(measure_samplers, side=side, rows=rows))
    trajectories = Task(f"trajectories {side}, {rows} rows", 1, 20, partial(measure_rows, side=side, rows=rows))
    return [*steps, trajectories, samplers]


@torch.inference_mode()
def measure_step(lab: Lab, side: int, rows: int) -> list[Point]:
    """Steps of a full batch, and the UNet's forward pass with as many rows, by turns."""
    model = lab.fast(lab.speedups, [side], [rows])
    engine = lab.engine(model, rows)
    batch = running(make_params(side, ENDLESS_STEPS), rows // 2)
    works: dict[str, Work] = {ENGINE: partial(_step, engine, batch), BARE: unet_call(model, side, rows)}
    seconds = interleaved(works, lab.scale.rounds, lab.device, lab.scale.least_seconds)
    what: dict[str, Label] = {"work": "step", "side": side, "rows": rows}
    return [Point(what=what | {"kind": kind}, figures={"seconds": each}) for kind, each in seconds.items()]


def measure_samplers(lab: Lab, side: int, rows: int) -> list[Point]:
    """Steps of a full batch with each noise sampler."""
    model = lab.fast(lab.speedups, [side], [rows])
    works: dict[str, Work] = {}
    for name in model.prototypes.names:
        batch = running(make_params(side, ENDLESS_STEPS, sampler=name), rows // 2)
        works[name] = partial(_step, lab.engine(model, rows), batch)
    seconds = interleaved(works, lab.scale.rounds, lab.device, lab.scale.least_seconds)
    what: dict[str, Label] = {"work": "sampler", "side": side, "rows": rows}
    return [Point(what=what | {"kind": name}, figures={"seconds": each}) for name, each in seconds.items()]


@torch.inference_mode()
def measure_rows(lab: Lab, side: int, rows: int) -> list[Point]:
    """What follows the UNet: all rows at once, and, as for samplers that are not linear, diffusers' own for each."""
    model = lab.model()
    params = make_params(side, ENDLESS_STEPS)
    works: dict[str, Work] = {}
    for name in (TOGETHER, EACH):
        trajectories = Admission(model).start(running(params, rows // 2))
        for trajectory in trajectories if name == EACH else ():
            trajectory.sampler = model.make_sampler(None)
            trajectory.sampler.set_timesteps(ENDLESS_STEPS, device="cpu")
            trajectory.sampler.set_begin_index(0)
        predictions = torch.zeros_like(torch.cat([each.latents for each in trajectories]))
        works[name] = partial(_advance, trajectories, predictions)
    seconds = interleaved(works, min(MOST_ROUNDS, lab.scale.rounds), lab.device, lab.scale.least_seconds)
    what: dict[str, Label] = {"work": "rows", "side": side, "rows": rows}
    return [Point(what=what | {"kind": kind}, figures={"seconds": each}) for kind, each in seconds.items()]


def _advance(trajectories: Sequence[Trajectory], predictions: Tensor) -> None:
    advance(gather(trajectories), predictions, Memory(lambda: False))


def measure_profile(lab: Lab, side: int, rows: int) -> list[Point]:
    """What ran on the device in some steps, and for how long nothing did."""
    engine = lab.engine(lab.fast(lab.speedups, [side], [rows]), rows)
    batch = running(make_params(side, ENDLESS_STEPS), rows // 2)
    for _ in range(3):
        _step(engine, batch)
    synchronize(lab.device)
    kernels = _profile(partial(_step, engine, batch), lab.device)
    what: dict[str, Label] = {"side": side, "rows": rows}
    span = max(each.end for each in kernels) - min(each.start for each in kernels)
    summary = {
        "seconds": [span / 1e6 / PROFILED_STEPS],
        "busy share": [busy(kernels) / span],
        "kernels": [len(kernels) / PROFILED_STEPS],
    }
    return [Point(what={"work": "profile", **what}, figures=summary), *_top(kernels, what)]


def busy(kernels: Iterable[Kernel]) -> float:
    """Microseconds in which at least one ran."""
    total, reached = 0.0, float("-inf")
    for each in sorted(kernels, key=lambda kernel: kernel.start):
        total += max(0.0, each.end - max(each.start, reached))
        reached = max(reached, each.end)
    return total


def table(known: Known) -> str:
    points = known("sampler")
    parts = [
        _step_table(points),
        _kind_table(points, "sampler", "noise sampler"),
        _kind_table(points, "rows", "what gathers rows and takes their step"),
        _profile_table(points),
        _kernel_table(points),
    ]
    return "\n\n".join(part for part in parts if part)


def overhead(points: Sequence[Point], side: int, rows: int) -> list[float]:
    """The share of the engine's step that is not the UNet's forward pass, by round."""
    engine, bare = (
        next(each for each in points if each.what == {"work": "step", "side": side, "rows": rows, "kind": kind})
        for kind in (ENGINE, BARE)
    )
    return [1 - b / e for e, b in zip(engine.figures["seconds"], bare.figures["seconds"], strict=True)]


def _step(engine: StepEngine, batch: Sequence[Request]) -> None:
    engine.run(batch, lambda _: None)


def _profile(work: Work, device: torch.device) -> list[Kernel]:
    """On a CPU the outermost operations stand for kernels. The engine's own marks are neither."""
    is_cuda = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if is_cuda else ProfilerActivity.CPU]) as profiler:
        for _ in range(PROFILED_STEPS):
            work()
        synchronize(device)
    wanted = DeviceType.CUDA if is_cuda else DeviceType.CPU
    events = [each for each in profiler.events() if each.device_type == wanted and not each.is_user_annotation]
    outermost = [each for each in events if each.cpu_parent is None or each.cpu_parent.is_user_annotation]
    return [Kernel(each.name, each.time_range.start, each.time_range.end) for each in outermost]


def _top(kernels: Iterable[Kernel], what: dict[str, Label]) -> list[Point]:
    """Those that took most."""
    by_name: dict[str, list[float]] = defaultdict(list)
    for each in kernels:
        by_name[each.name].append(each.end - each.start)
    longest = sorted(by_name.items(), key=lambda item: -sum(item[1]))[:TOP_KERNELS]
    return [
        Point(
            what={"work": "kernel", **what, "name": name},
            figures={"seconds": [sum(times) / 1e6 / PROFILED_STEPS], "calls": [len(times) / PROFILED_STEPS]},
        )
        for name, times in longest
    ]


def _step_table(points: Sequence[Point]) -> str:
    rows = []
    for point in (each for each in points if each.what.get("kind") == ENGINE):
        side, num_rows = int(point.what["side"]), int(point.what["rows"])
        shares = overhead(points, side, num_rows)
        bounds = f"{median(shares):.1%} ({min(shares):.1%} to {max(shares):.1%})"
        rows.append((*_shape(point), milliseconds(point.figures["seconds"]), bounds))
    return table_of(("size", "rows", "ms a step of the engine", "beside the UNet"), rows) if rows else ""


def _kind_table(points: Sequence[Point], work: str, title: str) -> str:
    chosen = [point for point in points if point.what["work"] == work]
    rows = [(*_shape(point), str(point.what["kind"]), milliseconds(point.figures["seconds"])) for point in chosen]
    return table_of(("size", "rows", title, "ms a step"), rows) if rows else ""


def _profile_table(points: Sequence[Point]) -> str:
    rows = [
        (
            *_shape(p),
            f"{p.median('seconds') * 1000:.1f}",
            f"{p.median('kernels'):.0f}",
            f"{1 - p.median('busy share'):.1%}",
        )
        for p in points
        if p.what["work"] == "profile"
    ]
    return table_of(("size", "rows", "ms a step, profiled", "kernels", "time in gaps"), rows) if rows else ""


def _kernel_table(points: Sequence[Point]) -> str:
    rows = [
        (
            *_shape(p),
            f"`{str(p.what['name'])[:LONGEST_NAME]}`",
            f"{p.median('seconds') * 1000:.2f}",
            f"{p.median('calls'):.0f}",
        )
        for p in points
        if p.what["work"] == "kernel"
    ]
    return table_of(("size", "rows", "kernel", "ms a step", "calls"), rows) if rows else ""


def _shape(point: Point) -> tuple[str, str]:
    return f"{point.what['side']}x{point.what['side']}", str(point.what["rows"])
