"""When requests will be finished: a worker's turns, played through in advance by what its steps cost."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple

from scheduler.cost import CostModel
from scheduler.request import BatchKey, CallKey, GenerateParams, batch_key, call_key

ROUNDING = 1e-9  # of a step: what ends within it ends together


class Work(NamedTuple):
    """What is left to do of a request."""

    request_id: str
    params: GenerateParams
    steps_left: int
    is_running: bool = False


def forecast_steps(works: Iterable[Work], costs: CostModel) -> dict[str, float]:
    """Seconds until each request is finished, in step mode.

    `works` in the order in which they started or will start. Sizes take turns as `StepScheduler` lets them, and each
    refills its batch from its own queue. Nothing is foreseen of requests that are yet to come.
    """
    groups = _groups(works, costs)
    seconds: dict[str, float] = {}
    now = 0.0
    while groups:
        first = min(groups, key=_Group.rounds_to_end)
        rounds = first.rounds_to_end()
        now += rounds * sum(group.step_seconds / group.charge for group in groups)
        for group in groups:
            group.steps += rounds / group.charge
        seconds |= dict.fromkeys(first.end(), now)
        if not first.fill():
            groups.remove(first)
    return seconds


def forecast_calls(works: Iterable[Work], costs: CostModel, max_batch: int) -> dict[str, float]:
    """The same for call mode: one call after the other, each with as many as can share it with its first."""
    queues: dict[tuple[bool, CallKey], deque[tuple[int, Work]]] = {}
    for place, work in enumerate(works):
        queues.setdefault((work.is_running, call_key(work.params)), deque()).append((place, work))
    seconds: dict[str, float] = {}
    now = 0.0
    while queues:
        key = min(queues, key=lambda key: queues[key][0][0])
        batch = _next_call(queues[key], max_batch, costs)
        now += _call_seconds(batch, costs)
        seconds |= dict.fromkeys((work.request_id for work in batch), now)
        if not queues[key]:
            del queues[key]
    return seconds


@dataclass(slots=True, eq=False)
class _Group:
    """The requests of one size.

    `num_rows` are in its batch, `num_wanted` in all its requests. `steps` counts those that its batch has made, `ends`
    is a heap of when requests end by that count. In a round of turns it makes 1 / `charge` steps.
    """

    pixels: int
    costs: CostModel
    waiting: deque[Work] = field(default_factory=deque)
    ends: list[tuple[float, int, Work]] = field(default_factory=list)
    num_rows: int = 0
    num_wanted: int = 0
    steps: float = 0.0
    step_seconds: float = 0.0
    charge: float = 1.0

    def add(self, work: Work) -> None:
        self.waiting.append(work)
        self.num_wanted += work.params.num_rows

    def fill(self) -> bool:
        """Starts what there is room for; says whether anything is left."""
        room = self.costs.max_rows(self.pixels)
        while self.waiting and self.num_rows + self.waiting[0].params.num_rows <= room:
            work = self.waiting.popleft()
            self.num_rows += work.params.num_rows
            heappush(self.ends, (self.steps + work.steps_left, len(self.waiting), work))
        if self.ends:
            self.step_seconds = self.costs.step_seconds(self.num_rows, self.pixels)
            self.charge = self.costs.turn_charge(self.num_rows, self.num_wanted, self.pixels)
        return bool(self.ends)

    def rounds_to_end(self) -> float:
        """Until a request of it ends."""
        return max(0.0, self.ends[0][0] - self.steps) * self.charge

    def end(self) -> list[str]:
        """Takes out those that are at their end."""
        ended = []
        while self.ends and self.ends[0][0] <= self.steps + ROUNDING:
            work = heappop(self.ends)[2]
            self.num_rows -= work.params.num_rows
            self.num_wanted -= work.params.num_rows
            ended.append(work.request_id)
        return ended


def _groups(works: Iterable[Work], costs: CostModel) -> list[_Group]:
    groups: dict[BatchKey, _Group] = {}
    for work in works:
        key = batch_key(work.params)
        if key not in groups:
            groups[key] = _Group(work.params.pixels, costs)
        groups[key].add(work)
    return [group for group in groups.values() if group.fill()]


def _next_call(queue: deque[tuple[int, Work]], max_batch: int, costs: CostModel) -> list[Work]:
    params = queue[0][1].params
    size = min(len(queue), max_batch, costs.max_rows(params.pixels) // params.num_rows)
    return [queue.popleft()[1] for _ in range(size)]


def _call_seconds(batch: Sequence[Work], costs: CostModel) -> float:
    steps = max(work.steps_left for work in batch)
    return steps * costs.step_seconds(sum(work.params.num_rows for work in batch), batch[0].params.pixels)
