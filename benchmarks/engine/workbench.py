"""A worker in this process: the real loop, scheduler, engine and outbox, turned by hand and looked at from inside."""

import itertools
import os
import queue
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from scheduler.placement.variables import WORKER_VARIABLES

os.environ.update({**WORKER_VARIABLES, **os.environ})  # before torch is imported

import msgspec
import torch

from benchmarks.engine.outlet import Outlet
from benchmarks.workload import Workload
from scheduler import sdxl
from scheduler.cost import CostModel
from scheduler.engine import Engine
from scheduler.loop import Inbox, Loop
from scheduler.messages import Abort, Cancelled, Failed, Finished, StepStats, WorkerConfig
from scheduler.outbox import FinalPicture, Outgoing, PreviewPicture
from scheduler.request import GenerateParams, Request
from scheduler.scheduler import StepScheduler

if TYPE_CHECKING:  # the packages are loaded by `sdxl.load`, which first hushes the libraries
    from scheduler.sdxl.step_engine import StepEngine
    from scheduler.sdxl.weights import Model

ARRIVAL_TIMEOUT = 60.0


class WorkbenchError(Exception):
    """A request failed, so there is nothing to measure."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the loop, with one denoising step in it. `unet` are the seconds inside the UNet's forward pass."""

    seconds: float
    unet: float
    stats: StepStats


class UnetWatch:
    """Looks on at a UNet: how long its forward passes take, and what the latest was given."""

    def __init__(self, unet: Any) -> None:
        self.seconds = 0.0
        self._unet = unet
        self._inputs: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
        self._began = 0.0
        unet.register_forward_pre_hook(self._before, with_kwargs=True)
        unet.register_forward_hook(self._after)

    @property
    def num_rows(self) -> int:
        """Of the latest call."""
        return len(self._inputs[0][0])

    @torch.inference_mode()
    def call_again(self) -> None:
        """The latest call once more, with the same inputs."""
        args, kwargs = self._inputs
        self._unet(*args, **kwargs)

    def _before(self, _: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._inputs = (args, kwargs)
        self._began = time.perf_counter()

    def _after(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._began


class Workbench:
    """All of the model's work happens in the thread that calls `turn`; pictures are encoded in the outlet's.

    `preview` and `final` are the newest pictures that the loop gave away, still as pixels.
    """

    def __init__(self, engine: Engine, model: "Model", outlet: Outlet, unet: UnetWatch, name: str = "") -> None:
        self.engine = engine
        self.model = model
        self.cost = CostModel(engine.info)
        self.unet = unet
        self.preview: PreviewPicture | None = None
        self.final: FinalPicture | None = None
        self._outlet = outlet
        self._name = name
        self._inbox: Inbox = queue.SimpleQueue()
        self._scheduler = StepScheduler(self.cost)
        self._loop = Loop(engine, self._scheduler, self._inbox, self._emit)
        self._numbers = itertools.count()
        self._live: set[str] = set()
        self._stats: StepStats | None = None

    @property
    def size(self) -> int:
        """The model's own, in pixels; square."""
        return self.engine.info.default_width

    @property
    def num_waiting(self) -> int:
        """Requests that have not started, those that the loop has not yet seen among them."""
        return self._scheduler.num_waiting + self._inbox.qsize()

    @property
    def is_busy(self) -> bool:
        """A picture is still to arrive."""
        return bool(self._live)

    def capacity(self, params: GenerateParams) -> int:
        """How many such requests fill the batch."""
        return max(1, self.cost.max_rows(params.pixels) // params.num_rows)

    def params(self, **changes: Any) -> GenerateParams:
        """A request with guidance, of the model's own size."""
        info = self.engine.info
        own: dict[str, Any] = {
            "prompt": "",
            "width": self.size,
            "height": self.size,
            "guidance_rows": info.guidance_rows,
        }
        return GenerateParams(**(own | changes))

    def submit(self, params: GenerateParams) -> str:
        """Sends such a request with a prompt and a seed of its own, from any thread; returns its id."""
        number = next(self._numbers)
        request_id = f"{self._name}{number}"
        self._live.add(request_id)
        prompt = str(Workload().body(number)["prompt"])
        self._inbox.put(Request(request_id, msgspec.structs.replace(params, prompt=prompt, seed=number)))
        return request_id

    def turn(self) -> Turn:
        """One turn of the loop with a step in it. Raises `WorkbenchError` where there is nothing to do."""
        turn = self.try_turn()
        if turn is None:
            self.arrivals()
            raise WorkbenchError("there is nothing left to do")
        return turn

    def try_turn(self) -> Turn | None:
        """The same; None where there is no step left to make."""
        inside, began = self.unet.seconds, time.perf_counter()
        self._stats = None
        while self._stats is None:
            if self._is_idle:
                return None
            self._loop.step()
        return Turn(time.perf_counter() - began, self.unet.seconds - inside, self._stats)

    def arrivals(self) -> list[Finished]:
        """The pictures that have arrived since the last call; where there is nothing else to do, waits for one.

        Raises `WorkbenchError` where one failed.
        """
        finished: list[Finished] = []
        while not self._outlet.arrived.empty() or (self._live and self._is_idle and not finished):
            finished += self._take()
        return finished

    def run_out(self) -> list[Finished]:
        """Turns until every request has ended and every picture has arrived."""
        finished = []
        while self._live:
            if not self._is_idle:
                self._loop.step()
            finished += self.arrivals()
        return finished

    def clear(self) -> None:
        """Aborts all that is left."""
        for request_id in self._live:
            self._inbox.put(Abort(request_id))
        self.run_out()

    @property
    def _is_idle(self) -> bool:
        """The loop would wait for a request."""
        return self._scheduler.is_idle and self._inbox.empty()

    def _take(self) -> list[Finished]:
        """Waits until something arrives."""
        report = self._outlet.arrived.get(timeout=ARRIVAL_TIMEOUT)
        if isinstance(report, Finished | Failed | Cancelled):
            self._live.discard(report.request_id)
        if isinstance(report, Failed):
            raise WorkbenchError(f"a request failed with {report.code}: {report.message}")
        return [report] if isinstance(report, Finished) else []

    def _emit(self, items: Sequence[Outgoing]) -> None:
        for item in items:
            if isinstance(item, StepStats):
                self._stats = item
            elif isinstance(item, PreviewPicture):
                self.preview = item
            elif isinstance(item, FinalPicture):
                self.final = item
        self._outlet.emit(items)


@contextmanager
def open_workbench(config: WorkerConfig) -> Iterator[Workbench]:
    """Loads the model as a worker does, its step times measured. Raises `LoadError`."""
    engine = cast("StepEngine", sdxl.load(config, lambda _: None))
    outlet = Outlet()
    try:
        yield Workbench(engine, engine.model, outlet, UnetWatch(engine.model.pipe.unet))
    finally:
        outlet.close()


@contextmanager
def open_beside(bench: Workbench) -> Iterator[Workbench]:
    """Another workbench with the same engine and none of the requests. While one turns, the other stands still."""
    outlet = Outlet()
    try:
        yield Workbench(bench.engine, bench.model, outlet, bench.unet, "beside-")
    finally:
        outlet.close()
