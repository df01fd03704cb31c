"""Peak memory by rows and size: what a step needs, and what the pictures beside it add."""

from collections.abc import Callable
from functools import partial

import torch

from benchmarks.gpu.lab import Lab, make_params, running
from benchmarks.gpu.scale import Scale
from benchmarks.gpu.store import Point
from benchmarks.gpu.tasks import Known, Task
from benchmarks.tables import table as table_of
from scheduler.request import Request
from scheduler.sdxl.step_engine import StepEngine

NUM_STEPS = 2


def tasks(scale: Scale) -> list[Task]:
    return [Task(f"{side}", 1, 30, partial(measure, side=side)) for side in scale.sizes]


def measure(lab: Lab, side: int) -> list[Point]:
    """Bytes of tensors at most, and "reserved" what PyTorch took for them; 0 on a CPU, where nobody counts."""
    model = lab.model()
    weights = _allocated(lab.device)
    points = []
    for rows in (each for each in lab.scale.rows if each > 1):
        batch = running(make_params(side, NUM_STEPS, preview_every=1), rows // 2)
        engine = lab.engine(model, rows)
        what = {"side": side, "rows": rows}
        step = _peak(lab, partial(engine.run, batch, lambda _: None))
        pictures = _peak(lab, partial(_finish, engine, batch))
        figures = {"weights": [weights], "step": [step], "pictures": [pictures], "reserved": [_reserved(lab.device)]}
        points.append(Point(what=dict(what), figures=figures))
    return points


def table(known: Known) -> str:
    rows = [
        (
            f"{p.what['side']}x{p.what['side']}",
            str(p.what["rows"]),
            *(f"{p.median(name) / 2**30:.1f}" for name in NAMES),
        )
        for p in known("memory")
    ]
    header = ("size", "rows", "weights, GiB", "with a step", "with previews and pictures", "reserved for that")
    return table_of(header, rows) if rows else ""


NAMES = ("weights", "step", "pictures", "reserved")


def _finish(engine: StepEngine, batch: list[Request]) -> None:
    """The last step, and all pictures."""
    engine.run(batch, lambda _: None)
    while engine.collect(wait=True):
        pass
    for request in batch:
        engine.release(request)


def _peak(lab: Lab, work: Callable[[], object]) -> float:
    lab.release()
    work()
    return float(torch.cuda.max_memory_allocated(lab.device)) if lab.device.type == "cuda" else 0.0


def _reserved(device: torch.device) -> float:
    """At most, since the last peak began."""
    return float(torch.cuda.max_memory_reserved(device)) if device.type == "cuda" else 0.0


def _allocated(device: torch.device) -> float:
    return float(torch.cuda.memory_allocated(device)) if device.type == "cuda" else 0.0
