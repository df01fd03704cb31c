"""Float8 linear layers: how much faster, and what they do to the picture."""

from functools import partial
from statistics import median

from benchmarks.gpu.lab import Lab, make_params, running
from benchmarks.gpu.likeness import Latents, differences, exact_float32, run_joining
from benchmarks.gpu.scale import Scale
from benchmarks.gpu.stages import steps
from benchmarks.gpu.store import Point
from benchmarks.gpu.tasks import Known, Task
from benchmarks.tables import table as table_of
from scheduler.messages import Speedups

BASE, FLOAT8 = "compile", "float8"
NUM_PICTURES = 3


def tasks(scale: Scale) -> list[Task]:
    """Its speed beside the compiled rung's, where the scale has both."""
    rungs = [rung for rung in (BASE, FLOAT8) if rung in scale.rungs]
    speed = [
        Task(f"speed {side}, {rows} rows", 1, 200, partial(steps.measure, side=side, rows=rows, rungs=rungs))
        for side, rows in scale.first
        if len(rungs) == 2
    ]
    side = scale.first[0][0]
    return [Task(f"pictures {side}", 1, 60, partial(measure_pictures, side=side)), *speed]


def measure_pictures(lab: Lab, side: int) -> list[Point]:
    """The same requests in the lab's dtype, with float8, and in float32, which tells what is lost without float8."""
    requests = running(make_params(side, lab.scale.num_steps), NUM_PICTURES)
    latents = {}
    with exact_float32():
        for name, speedups, dtype in (
            (lab.dtype, Speedups(), lab.dtype),
            (FLOAT8, Speedups(float8=True), lab.dtype),
            ("float32", Speedups(), "float32"),
        ):
            seen = Latents()
            engine = lab.engine(lab.fast(speedups, [side], [2 * NUM_PICTURES], dtype), 2 * NUM_PICTURES, seen)
            latents[name] = run_joining(engine, seen, requests)
        vae = lab.model("float32").pipe.vae
        return [
            Point(
                what={"side": side, "way": way, "reference": reference},
                figures=differences(latents[way], latents[reference], vae),
            )
            for way, reference in ((FLOAT8, lab.dtype), (FLOAT8, "float32"), (lab.dtype, "float32"))
        ]


def table(known: Known) -> str:
    points = known("fp8")
    rows = [
        (
            f"{p.what['side']}x{p.what['side']}",
            str(p.what["way"]),
            str(p.what["reference"]),
            _decibels(p),
            f"{max(p.figures['error']):.1e}",
        )
        for p in points
        if "way" in p.what
    ]
    header = ("size", "pictures in", "against", "signal to noise", "relative error of latents")
    speeds = steps.table(lambda stage: [p for p in points if "rung" in p.what] if stage == "steps" else known(stage))
    return "\n\n".join(part for part in (table_of(header, rows) if rows else "", speeds) if part)


def _decibels(point: Point) -> str:
    values = point.figures["decibel"]
    return f"{median(values):.1f} dB ({min(values):.1f} to {max(values):.1f})"
