"""Requests that never stop coming: the batch stays at its cap, each request at a step of its own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.engine.workbench import Turn, Workbench
from scheduler.request import GenerateParams


@dataclass(frozen=True, slots=True)
class Window:
    """Some turns of a full batch."""

    turns: Sequence[Turn]
    num_steps: int
    least_waiting: int

    @property
    def seconds(self) -> float:
        return sum(turn.seconds for turn in self.turns)

    @property
    def images_per_second(self) -> float:
        """By the steps made: as many requests are in each phase of their life, those that end among them."""
        return sum(turn.stats.batch_size for turn in self.turns) / self.num_steps / self.seconds

    @property
    def mean_rows(self) -> float:
        return sum(turn.stats.num_rows for turn in self.turns) / len(self.turns)


class Flow:
    """Requests like `params` without end. They start evenly over as many turns as they have steps, and so they end."""

    def __init__(self, bench: Workbench, params: GenerateParams) -> None:
        self._bench = bench
        self._params = params
        self._ending = math.ceil(bench.capacity(params) / params.num_steps)  # at a time, at most
        for _ in range(params.num_steps + 1):
            self._submit(self._ending)
            bench.turn()
            bench.arrivals()

    def run(self, num_turns: int) -> Window:
        """A window of as many turns; a multiple of the requests' steps holds every phase equally often."""
        turns, waiting = [], []
        for _ in range(num_turns):
            self._submit(self._ending + 1 - self._bench.num_waiting)
            turns.append(self._bench.turn())
            waiting.append(self._bench.num_waiting)
            self._bench.arrivals()
        return Window(turns, self._params.num_steps, min(waiting))

    def _submit(self, count: int) -> None:
        for _ in range(count):
            self._bench.submit(self._params)
