"""A short request that joins a batch of long ones, against one in a batch of its own kind with as many rows."""

import threading
from statistics import median

import msgspec

from benchmarks.comparison import Range
from benchmarks.engine.goals import Goal
from benchmarks.engine.pace import Pace
from benchmarks.engine.wave import run_wave
from benchmarks.engine.workbench import Workbench
from benchmarks.tables import table
from scheduler.messages import Finished

MOST_TIMES = 1.5


class JoinerRound(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from arrival to the encoded picture; `into_step`: which share of a step had passed on arrival."""

    joining: float
    among_its_kind: float
    into_step: float


class Joiner(msgspec.Struct, frozen=True, kw_only=True, tag="joiner"):
    """Steps of the request and of those that it joins; `rows` in the batch with it."""

    num_steps: int
    others_steps: int
    rows: int
    rounds: list[JoinerRound]

    @property
    def goals(self) -> list[Goal]:
        what = f"{self.num_steps} steps among {self.others_steps}, against its own kind"
        ratios = Range.of([each.joining / each.among_its_kind for each in self.rounds])
        return [Goal(what, ratios, at_most=MOST_TIMES)]

    def table(self) -> str:
        rows = [
            (f"{each.into_step:.0%} into a step", f"{each.joining:.2f}", f"{each.among_its_kind:.2f}")
            for each in self.rounds
        ]
        return table(("it arrives", "joining, s", "among its kind, s"), rows)


def measure(bench: Workbench, pace: Pace, *, num_steps: int = 4, others_steps: int = 40) -> Joiner:
    """It arrives at another moment of a step in every round: whoever comes has to wait for the step under way."""
    params = bench.params(num_steps=num_steps)
    rounds = []
    for number in pace.rounds():
        into_step = (0.1 + 0.618 * number) % 1
        rounds.append(
            JoinerRound(
                joining=_joining(bench, num_steps, others_steps, into_step),
                among_its_kind=median(run_wave(bench, params, bench.capacity(params)).latencies),
                into_step=into_step,
            )
        )
    return Joiner(
        num_steps=num_steps, others_steps=others_steps, rows=bench.capacity(params) * params.num_rows, rounds=rounds
    )


def _joining(bench: Workbench, num_steps: int, others_steps: int, into_step: float) -> float:
    others = bench.params(num_steps=others_steps)
    for _ in range(bench.capacity(others) - 1):
        bench.submit(others)
    bench.turn()
    step = bench.turn().seconds
    arrival = threading.Timer(step * into_step, bench.submit, (bench.params(num_steps=num_steps),))
    arrival.start()
    finished: list[Finished] = []
    while not finished:
        bench.turn()
        finished = bench.arrivals()
    arrival.join()
    bench.clear()
    return finished[0].timings["total"]
