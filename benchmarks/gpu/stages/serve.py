"""The whole service under load: what it can do, and what its clients see at a given share of that."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import msgspec

from benchmarks.environment import ROOT
from benchmarks.gpu.lab import Lab
from benchmarks.gpu.scale import Scale
from benchmarks.gpu.services import MODES, Services
from benchmarks.gpu.store import Figures, Label, Point
from benchmarks.gpu.tasks import Known, Level, Task
from benchmarks.results import LoadResult, Summary
from benchmarks.servers import Server
from benchmarks.soak.accounts import Counts
from benchmarks.soak.run import metrics_of
from benchmarks.tables import table as table_of

SAME, MIXED = (20,), (10, 20, 30, 40)
"""Denoising steps that requests ask for."""
CAPACITY = 0.0
"""In place of a share: as many clients as it takes to keep the service busy."""
SHARES = (0.8, 0.5, 1.0, 1.2)
CLIENTS = 32
SERVICE_SECONDS = 260
"""From a service's start until it is ready, compiled: for three numbers of rows, one of which the cache may have."""
WARM_UP_STEPS = 2
POLL_SECONDS = 0.05
SETTLED, MEASURED = 0.3, 0.5
"""Of a load's time: what passes before the throughput is measured, and for how long it is."""

STEPS, ROWS, PADDED, REQUEST_STEPS = (
    (f"latentcast_{name}", "") for name in ("steps_total", "rows_total", "padded_rows_total", "batch_size_sum")
)
"""In the service's metrics."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one mode is asked: pictures of one size; closed loop to find its capacity, or Poisson arrivals.

    Arrivals are at a `share` of what step mode can do, in every mode.
    """

    mode: str
    side: int
    steps: tuple[int, ...]
    share: float = CAPACITY

    @property
    def name(self) -> str:
        load = f"{self.share:.0%} load" if self.share else "capacity"
        return f"{self.mode} {self.side}, {'-'.join(map(str, (self.steps[0], self.steps[-1])))} steps, {load}"


def tasks(scale: Scale) -> list[Task]:
    """Modes and sizes one after the other, because each start of the service takes its time."""
    large, small = scale.sizes[:2]
    headline = [Load("step", large, SAME), Load("step", large, SAME, SHARES[0])]
    first = [
        Load("step", large, MIXED),
        Load("step", large, MIXED, SHARES[0]),
        Load("step", small, MIXED),
        Load("step", small, MIXED, SHARES[0]),
        *(
            Load(mode, side, MIXED, share)
            for mode in ("call", "one")
            for side in (large, small)
            for share in (CAPACITY, SHARES[0])
        ),
    ]
    rest = [Load("step", side, MIXED, share) for side in (large, small) for share in SHARES[1:]]
    rest += [Load(mode, side, SAME) for mode in ("step", "call", "one") for side in (large, small)]
    levels = dict.fromkeys(rest, 2) | dict.fromkeys(first, 1) | dict.fromkeys(headline, 0)
    return [_task(scale, load, levels[load]) for load in dict.fromkeys([*headline, *first, *rest])]


def _task(scale: Scale, load: Load, level: Level) -> Task:
    """A mode that is offered more than it can do answers for a while after the last request was sent."""
    seconds = (4.0 if load.share and load.mode != "step" else 2.5) * scale.load_seconds
    ground = f"{load.mode} {load.side}"
    return Task(load.name, level, seconds, partial(measure, load=load), ground, SERVICE_SECONDS)


def measure(lab: Lab, load: Load) -> list[Point]:
    seconds = lab.scale.load_seconds
    if load.share:
        rate = load.share * capacity(lab.known("serve"), load)
        how, offered = ["--rate", str(rate)], {"offered": [rate]}
    else:
        how, offered = ["--clients", str(CLIENTS)], {}
    server = lab.shared(Services).get(load.mode, load.side)
    with Client(server, Load(load.mode, load.side, (WARM_UP_STEPS,)), ["--clients", "4"], count=4) as client:
        client.finish()
    lab.say(load.name)
    began = metrics_of(server)
    with Client(server, load, how, seconds=seconds) as client:
        denoised = client.denoised(seconds)
        result = client.finish()
    batches = differences(began, metrics_of(server))
    return [Point(what=_what(load), figures=offered | denoised | batches | latencies(result.summary))]


def capacity(points: Sequence[Point], load: Load) -> float:
    """Images/s of step mode for such requests, as measured before."""
    what = _what(Load("step", load.side, load.steps))
    found = [each for each in points if each.what == what]
    if not found:
        raise LookupError(f"the capacity of step mode at {load.side} is not measured yet")
    return found[-1].median("images a second")


class Client:
    """`benchmarks.load` in a process of its own, ended with the block."""

    def __init__(
        self, server: Server, load: Load, how: Sequence[str], *, seconds: float = 600.0, count: int = 1_000_000
    ) -> None:
        self._server = server
        self._steps = load.steps
        self._folder = tempfile.TemporaryDirectory()
        self._output = Path(self._folder.name) / "load.json"
        size, steps = f"{load.side}x{load.side}", [str(each) for each in load.steps]
        flags = ["--size", size, "--steps", *steps, "--seconds", str(seconds), "--count", str(count), *how]
        command = [sys.executable, "-m", "benchmarks.load", "--quiet", "--url", f"{server.url}/stream"]
        self._process = subprocess.Popen([*command, "--json", str(self._output), *flags], cwd=ROOT)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def denoised(self, seconds: float) -> Figures:
        """Images/s by the steps made in the middle of a load of so many seconds.

        Pictures themselves come in clumps, because requests that start together end together.
        """
        self._wait_for_steps()
        time.sleep(SETTLED * seconds)
        before, began = metrics_of(self._server), time.perf_counter()
        time.sleep(MEASURED * seconds)
        after, ended = metrics_of(self._server), time.perf_counter()
        made = (after[REQUEST_STEPS] - before[REQUEST_STEPS]) / fmean(self._steps)
        return {"images a second": [made / (ended - began)]}

    def _wait_for_steps(self) -> None:
        """Until what it sent is worked on: a process takes a while to start."""
        before = metrics_of(self._server)[REQUEST_STEPS]
        while metrics_of(self._server)[REQUEST_STEPS] == before and self._process.poll() is None:
            time.sleep(POLL_SECONDS)

    def finish(self) -> LoadResult:
        """Its result, once all that was sent has been answered."""
        self._process.wait()
        return msgspec.json.decode(self._output.read_bytes(), type=LoadResult)


def differences(before: Counts, after: Counts) -> Figures:
    """Of the batches between two readings of the service's metrics."""
    steps, rows, padded = (after[name] - before[name] for name in (STEPS, ROWS, PADDED))
    return {"rows a step": [rows / steps], "padded share": [padded / (rows + padded)]} if steps else {}


def latencies(summary: Summary) -> Figures:
    """Seconds from the moment a request was meant to leave; and how many were finished, and how many failed."""
    figures = {"finished": [float(summary.images)], "failed": [float(sum(summary.errors.values()))]}
    for name, spread in (("first preview", summary.first_preview), ("end to end", summary.end_to_end)):
        if spread:
            figures |= {f"{name} p50": [spread.p50], f"{name} p99": [spread.p99]}
    return figures


def table(known: Known) -> str:
    header = (
        *("size", "steps", "load", "batching", "images/s", "first preview p50", "p99", "end to end p50", "p99"),
        *("rows a step", "requests", "failed"),
    )
    points = sorted(known("serve"), key=_order)
    rows = [(*_label(point), *_figures(point)) for point in points]
    note = "Latencies in seconds, from the moment a request was meant to leave; a p99 of under 100 is near the maximum."
    return f"{table_of(header, rows)}\n\n{note}" if rows else ""


def _order(point: Point) -> tuple[int, str, float, int]:
    what = point.what
    return -int(what["side"]), str(what["steps"]), float(what["share"]), list(MODES).index(str(what["mode"]))


def _label(point: Point) -> tuple[str, ...]:
    what = point.what
    share = float(what["share"])
    size, load = f"{what['side']}x{what['side']}", f"{share:.0%}" if share else "all it can"
    return size, str(what["steps"]), load, str(what["mode"])


def _figures(point: Point) -> tuple[str, ...]:
    latencies_ = [
        _figure(point, f"{name} {which}") for name in ("first preview", "end to end") for which in ("p50", "p99")
    ]
    counts = (_figure(point, name, 0) for name in ("finished", "failed"))
    return _figure(point, "images a second"), *latencies_, _figure(point, "rows a step", 1), *counts


def _figure(point: Point, name: str, digits: int = 2) -> str:
    return f"{point.median(name):.{digits}f}" if name in point.figures else ""


def _what(load: Load) -> dict[str, Label]:
    steps = ", ".join(map(str, load.steps))
    return {"mode": load.mode, "side": load.side, "steps": steps, "share": load.share}
