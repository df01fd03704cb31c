"""How the scheduler shares a device between sizes: the real one, simulated on measured step times.

Nothing is painted and no time passes, so the same seed gives the same figures on every machine.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import heappop, heappush

import msgspec
import numpy as np

from benchmarks.workload import poisson_arrivals
from scheduler.cost import CostModel
from scheduler.engine import RequestOutput
from scheduler.fake_engine import FakeEngine
from scheduler.messages import ModelInfo, StepTime, WorkerConfig
from scheduler.request import GenerateParams, Request
from scheduler.scheduler import StepScheduler

Size = tuple[int, int]
"""Width and height in pixels."""

SHARES: Mapping[Size, float] = {
    (256, 256): 0.50,
    (192, 192): 0.16,
    (256, 192): 0.12,
    (192, 256): 0.10,
    (320, 256): 0.10,
    (320, 320): 0.02,
}
NUM_STEPS = 20
SHORT, LONG = 4, 40  # steps of a request that joins a batch, and of those that it joins
SETTLING = 0.1  # of a run, at both ends, is left out of its throughput
PICTURE = np.zeros((1, 1, 3), dtype=np.uint8)
OWN_SIZE = 256 * 256


def steady_device() -> ModelInfo:
    """Rows cost nearly as much in a batch as alone, as on a CPU: Postcard in bf16 on two cores."""
    curve = [(2, 0.0514), (8, 0.1528), (32, 0.5792)]
    return make_device([StepTime(OWN_SIZE, rows, seconds) for rows, seconds in curve])


def wide_device() -> ModelInfo:
    """A step takes 30 ms up to 16 rows of 256x256, and then as long as they are many: the shape of a GPU's curve."""
    times = [(pixels, rows) for pixels in sorted({width * height for width, height in SHARES}) for rows in range(1, 65)]
    return make_device([StepTime(pixels, rows, 0.03 * max(1, rows * pixels / OWN_SIZE / 16)) for pixels, rows in times])


def make_device(step_times: Sequence[StepTime]) -> ModelInfo:
    info = FakeEngine(WorkerConfig(model="simulated")).info
    rows = max(time.rows for time in step_times)
    return msgspec.structs.replace(info, step_times=tuple(step_times), max_rows=rows)


DEVICES: Mapping[str, ModelInfo] = {"steady": steady_device(), "wide": wide_device()}


class Load(msgspec.Struct, frozen=True):
    """Either `clients`, each of whom asks again when it has its picture, or `rate`, requests a second at random."""

    clients: int | None = None
    rate: float | None = None


LOADS: Mapping[str, Sequence[Load]] = {
    "steady": (Load(clients=8), Load(clients=32), Load(clients=96), Load(rate=1.2)),
    "wide": (Load(clients=24), Load(clients=48), Load(clients=192), Load(rate=10.0)),
}


class EqualTimePerGroup(CostModel):
    """Every size gets as much of the device as any other."""

    def turn_charge(self, num_rows: int, num_wanted: int, pixels: int) -> float:  # noqa: ARG002 - whoever else waits
        return self.step_seconds(num_rows, pixels)


class EqualTimePerRow(CostModel):
    """Every row gets as much of the device as any other (processor sharing)."""

    def turn_charge(self, num_rows: int, num_wanted: int, pixels: int) -> float:  # noqa: ARG002 - whoever else waits
        return self.step_seconds(num_rows, pixels) / num_rows


class PlainTurns(CostModel):
    """Every size gets as many steps as any other."""

    def turn_charge(self, num_rows: int, num_wanted: int, pixels: int) -> float:  # noqa: ARG002 - whatever they cost
        return 1.0


class TurnsByRowCost(CostModel):
    """Sizes take turns, those with few rows less often, and those that many ask for no more often."""

    def turn_charge(self, num_rows: int, num_wanted: int, pixels: int) -> float:  # noqa: ARG002 - whoever else waits
        return super().turn_charge(num_rows, num_rows, pixels)


POLICIES: Mapping[str, type[CostModel]] = {
    "as it is": CostModel,
    "turns by row cost alone": TurnsByRowCost,
    "plain turns": PlainTurns,
    "equal time per row": EqualTimePerRow,
    "equal time per size": EqualTimePerGroup,
}


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """How one policy shares a device. End to end in seconds, of the commonest size and the rarest.

    `throughput` is against that of batches of a single size; None where the load decides it.
    """

    device: str
    policy: str
    load: Load
    common_p50: float
    common_p99: float
    rare_p50: float
    rare_p99: float
    throughput: float | None

    @property
    def rare_to_common(self) -> float:
        return self.rare_p99 / self.common_p99


@dataclass(frozen=True, slots=True)
class Served:
    size: Size
    arrived_at: float
    ended_at: float

    @property
    def seconds(self) -> float:
        return self.ended_at - self.arrived_at


class Simulation:
    """A worker in simulated time, and those who ask it for pictures, with each size's share of them."""

    def __init__(self, costs: CostModel, shares: Mapping[Size, float], load: Load, seed: int) -> None:
        self._costs = costs
        self._scheduler = StepScheduler(costs)
        self._shares = shares
        self._random = random.Random(seed)
        self._arrivals: list[tuple[float, int, Request]] = []  # a heap
        self._num_arrivals = 0
        self._poisson = poisson_arrivals(load.rate, seed) if load.rate is not None else None
        for at in [next(self._poisson)] if self._poisson else [self._random.random() for _ in range(load.clients or 0)]:
            self._arrive(at)

    def run(self, num_requests: int) -> list[Served]:
        """The first so many that end, in that order."""
        served: list[Served] = []
        now = 0.0
        while len(served) < num_requests:
            now = max(now, self._arrivals[0][0]) if self._scheduler.is_idle else now
            self._take_in(now)
            batch = self._scheduler.schedule(now)
            now += batch_seconds(self._costs, batch)
            served += [self._leave(output.request, now) for output in self._scheduler.postprocess(step_outputs(batch))]
        return served

    def _take_in(self, now: float) -> None:
        while self._arrivals and self._arrivals[0][0] <= now:
            self._scheduler.add(heappop(self._arrivals)[2])
            if self._poisson is not None:
                self._arrive(next(self._poisson))

    def _leave(self, request: Request, now: float) -> Served:
        if self._poisson is None:
            self._arrive(now)
        return Served((request.params.width, request.params.height), request.arrived_at, now)

    def _arrive(self, at: float) -> None:
        (size,) = self._random.choices(list(self._shares), list(self._shares.values()))
        request = make_request(str(self._num_arrivals), size, NUM_STEPS, at)
        heappush(self._arrivals, (at, self._num_arrivals, request))
        self._num_arrivals += 1


def make_request(request_id: str, size: Size, num_steps: int, arrived_at: float = 0.0) -> Request:
    width, height = size
    return Request(request_id, GenerateParams(prompt="", width=width, height=height, num_steps=num_steps), arrived_at)


def step_outputs(batch: Iterable[Request]) -> list[RequestOutput]:
    """What an engine says after one step."""
    return [
        RequestOutput(
            request,
            request.steps_done + 1,
            image=PICTURE if request.steps_done + 1 == request.params.num_steps else None,
        )
        for request in batch
    ]


def batch_seconds(costs: CostModel, batch: Sequence[Request]) -> float:
    num_rows = sum(request.params.num_rows for request in batch)
    return costs.step_seconds(num_rows, batch[0].params.pixels)


def throughput(served: Sequence[Served]) -> float:
    """Requests a second, once the run has settled."""
    skipped = int(SETTLING * len(served))
    settled = served[skipped : len(served) - skipped]
    return (len(settled) - 1) / (settled[-1].ended_at - settled[0].ended_at)


@lru_cache
def single_size_throughput(device: str, load: Load, num_requests: int, seed: int) -> float:
    """Of the same mix of sizes, if each came in batches of its own, one size after the other."""
    costs = CostModel(DEVICES[device])
    runs = {size: Simulation(costs, {size: 1.0}, load, seed).run(num_requests) for size in SHARES}
    return 1 / sum(share / throughput(runs[size]) for size, share in SHARES.items())


def share(device: str, policy: str, load: Load, num_requests: int, seed: int) -> Shared:
    costs = POLICIES[policy](DEVICES[device])
    served = Simulation(costs, SHARES, load, seed).run(num_requests)
    common, rare = max(SHARES, key=SHARES.__getitem__), min(SHARES, key=SHARES.__getitem__)
    common_p50, common_p99 = np.percentile([each.seconds for each in served if each.size == common], (50, 99))
    rare_p50, rare_p99 = np.percentile([each.seconds for each in served if each.size == rare], (50, 99))
    relative = None
    if load.clients is not None:
        relative = throughput(served) / single_size_throughput(device, load, num_requests, seed)
    return Shared(
        device=device,
        policy=policy,
        load=load,
        common_p50=float(common_p50),
        common_p99=float(common_p99),
        rare_p50=float(rare_p50),
        rare_p99=float(rare_p99),
        throughput=relative,
    )


def joining_slowdown(costs: CostModel, size: Size, num_requests: int) -> float:
    """How long a short request takes that comes just after a batch of long ones began a step.

    Against its time in a batch of as many short ones, which starts with it.
    """
    scheduler = StepScheduler(costs)
    for index in range(num_requests - 1):
        scheduler.add(make_request(str(index), size, LONG))
    seconds = batch_seconds(costs, batch := scheduler.schedule(0.0))
    scheduler.postprocess(step_outputs(batch))
    late = make_request("late", size, SHORT)
    scheduler.add(late)
    while late.is_live:
        seconds += batch_seconds(costs, batch := scheduler.schedule(0.0))
        scheduler.postprocess(step_outputs(batch))
    return seconds / (SHORT * batch_seconds(costs, batch))
