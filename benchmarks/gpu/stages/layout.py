"""The path a user takes: a sharded folder on disk, and how long a service needs from its start to being ready."""

from functools import partial

import msgspec

from benchmarks.gpu.lab import Lab
from benchmarks.gpu.rungs import RUNGS
from benchmarks.gpu.scale import Scale
from benchmarks.gpu.services import service
from benchmarks.gpu.store import Point
from benchmarks.gpu.tasks import Known, Task
from benchmarks.tables import table as table_of
from scheduler.messages import Speedups

ROWS = (2, 8)
"""That a compiled service is made ready for."""
RUNG_BY_WAY = {"plain": "eager", "compiled": "compile"}


def tasks(scale: Scale) -> list[Task]:
    ways = [way for way, rung in RUNG_BY_WAY.items() if rung in scale.rungs]
    return [Task(way, level, 100 * level**2, partial(measure, way=way)) for level, way in enumerate(ways, 1)]


def measure(lab: Lab, way: str) -> list[Point]:
    """The first start, in which the model's speed is measured; and, plain, one that remembers it."""
    speedups = RUNGS[RUNG_BY_WAY[way]].speedups
    if way != "plain":
        size = (lab.scale.first[0][0],) * 2
        speedups = msgspec.structs.replace(speedups, warm_sizes=(size,), warm_rows=ROWS)
    sizes = [file.stat().st_size for file in lab.folder.rglob("*.safetensors")]
    files = {"files": [float(len(sizes))], "bytes": [float(sum(sizes))]}
    starts = {name: _seconds_to_ready(lab, speedups, flags) for name, flags in _kinds(way).items()}
    return [
        Point(what={"way": way, "start": name}, figures={"seconds": [each], **files}) for name, each in starts.items()
    ]


def table(known: Known) -> str:
    rows = [
        (
            f"{point.what['way']}, {point.what['start']}",
            f"{point.median('seconds'):.0f} s",
            f"{point.median('bytes') / 2**30:.1f} GiB in {point.median('files'):.0f} files",
        )
        for point in known("layout")
    ]
    return table_of(("start", "until ready", "weights"), rows) if rows else ""


def _kinds(way: str) -> dict[str, tuple[str, ...]]:
    kinds: dict[str, tuple[str, ...]] = {"the model's speed measured": ("--calibration", "fresh")}
    return kinds | {"not measured": ("--calibration", "skip")} if way == "plain" else kinds


def _seconds_to_ready(lab: Lab, speedups: Speedups, flags: tuple[str, ...]) -> float:
    lab.say(f"starting the service {' '.join(flags)}")
    with service(lab, flags, speedups) as server:
        return server.start_seconds
