"""Six sizes at load, one of them rare: does the rare one wait, and what does the mixture cost?"""

import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from fractions import Fraction

import msgspec
import numpy as np

from benchmarks.comparison import Range
from benchmarks.engine.goals import Goal
from benchmarks.engine.pace import Pace
from benchmarks.engine.wave import run_wave
from benchmarks.engine.workbench import Turn, Workbench
from benchmarks.tables import table
from scheduler.request import GenerateParams

MOST_TIMES = 2.0
SHARE_OF_SINGLE = 0.9

SHARES: Mapping[tuple[Fraction, Fraction], int] = {
    (Fraction(1), Fraction(1)): 10,
    (Fraction(3, 4), Fraction(3, 4)): 5,
    (Fraction(1), Fraction(3, 4)): 4,
    (Fraction(3, 4), Fraction(5, 4)): 3,
    (Fraction(5, 4), Fraction(1)): 2,
    (Fraction(5, 4), Fraction(5, 4)): 1,
}
"""Of 25 requests how many have which size; width and height as parts of the model's own."""

CROWD = len(SHARES)
"""Batches that the clients would fill by themselves: one of each size."""

LEAST = 2 * sum(SHARES.values())
"""So many requests in a row hold each size at least once."""


class SizeFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from arrival to the encoded picture. `row_steps` were made while the load lasted, `single` is the time of
    one of them in full batches of this size alone."""

    width: int
    height: int
    latencies: list[float]
    row_steps: int
    single: list[float]

    @property
    def p99(self) -> float:
        return float(np.percentile(self.latencies, 99))


class Mixed(msgspec.Struct, frozen=True, kw_only=True, tag="mixed"):
    """`clients` ask for one picture after the other. `sizes` from the commonest to the rarest; `seconds` of load."""

    clients: int
    num_steps: int
    mean_rows: float
    seconds: float
    sizes: list[SizeFigures]

    @property
    def efficiency(self) -> float:
        """The time that the same work would have taken in full batches of one size each, of the time it took."""
        return sum(size.row_steps * Range.of(size.single).median for size in self.sizes) / self.seconds

    @property
    def goals(self) -> list[Goal]:
        rarest, commonest = self.sizes[-1], self.sizes[0]
        ratio = rarest.p99 / commonest.p99
        return [
            Goal("p99 of the rarest size, against the commonest", Range.of([ratio]), at_most=MOST_TIMES),
            Goal(
                "mixed sizes' throughput, of single-size batches",
                Range.of([self.efficiency]),
                at_least=SHARE_OF_SINGLE,
                unit="%",
            ),
        ]

    def table(self) -> str:
        rows = [
            (
                f"{size.width}x{size.height}",
                str(len(size.latencies)),
                *(f"{value:.2f}" for value in np.percentile(size.latencies, (50, 99))),
            )
            for size in self.sizes
        ]
        note = f"{self.clients} clients, {self.num_steps} steps with guidance; {self.mean_rows:.1f} rows in a step."
        return "\n".join([table(("size", "requests", "p50, s", "p99, s"), rows), "", note])


def measure(bench: Workbench, pace: Pace, *, num_steps: int = 20, count: int = 250, crowd: int = CROWD) -> Mixed:
    """`crowd` times as many clients as a batch holds. Single sizes are measured before and after the mixture."""
    sizes = [sized(bench, width, height, num_steps) for width, height in SHARES]
    single = [_single_size(bench, sizes)]
    load = Load(bench, sizes, clients=crowd * bench.capacity(sizes[0]))
    load.run(pace, count)
    single.append(_single_size(bench, sizes))
    return Mixed(
        clients=load.clients,
        num_steps=num_steps,
        mean_rows=load.mean_rows,
        seconds=load.seconds,
        sizes=[
            SizeFigures(
                width=params.width,
                height=params.height,
                latencies=load.latencies[params.pixels],
                row_steps=load.row_steps[params.pixels],
                single=[each[index] for each in single],
            )
            for index, params in enumerate(sizes)
        ],
    )


def sized(bench: Workbench, width: Fraction, height: Fraction, num_steps: int) -> GenerateParams:
    multiple = bench.engine.info.size_multiple
    sides = [int(bench.size * part) // multiple * multiple for part in (width, height)]
    return bench.params(width=sides[0], height=sides[1], num_steps=num_steps)


def deck(seed: int) -> Iterator[int]:
    """Endless indices of sizes: each 25 hold every size as often as `SHARES` says, in an order of their own."""
    rng = random.Random(seed)
    cards = [index for index, share in enumerate(SHARES.values()) for _ in range(share)]
    while True:
        yield from rng.sample(cards, len(cards))


def _single_size(bench: Workbench, sizes: list[GenerateParams]) -> list[float]:
    """Seconds of a row's step, pictures and previews included, in a full batch of each size."""
    seconds = []
    for params in sizes:
        count = bench.capacity(params)
        wave = run_wave(bench, params, count)
        seconds.append(wave.seconds / (count * params.num_rows * params.num_steps))
    return seconds


class Load:
    """A closed loop: each client asks for its next picture when its last one has come.

    Latencies are of the requests that were sent after each client's first, `seconds`, `mean_rows` and `row_steps` of
    the time in which they were sent.
    """

    def __init__(self, bench: Workbench, sizes: list[GenerateParams], clients: int) -> None:
        self.clients = clients
        self.seconds = 0.0
        self.latencies: dict[int, list[float]] = defaultdict(list)
        self.row_steps: Counter[int] = Counter()
        self._bench = bench
        self._sizes = sizes
        self._deck = deck(seed=0)
        self._counted: dict[str, int] = {}  # pixels by request
        self._turns = 0

    @property
    def mean_rows(self) -> float:
        return self.row_steps.total() / self._turns

    def run(self, pace: Pace, count: int) -> None:
        """Counts `count` requests, or as many as the pace allows, but `LEAST` in any case."""
        for _ in range(self.clients):
            self._bench.submit(self._draw())
        began: float | None = None
        while len(self._counted) < (LEAST if pace.is_over else max(count, LEAST)):
            turn = self._bench.turn()
            if began is not None:
                self._count_turn(turn)
            for finished in self._bench.arrivals():
                began = began or time.perf_counter()
                self._note(finished.request_id, finished.timings["total"])
                params = self._draw()
                self._counted[self._bench.submit(params)] = params.pixels
        self.seconds = time.perf_counter() - (began or 0.0)
        for finished in self._bench.run_out():
            self._note(finished.request_id, finished.timings["total"])

    def _draw(self) -> GenerateParams:
        return self._sizes[next(self._deck)]

    def _count_turn(self, turn: Turn) -> None:
        self._turns += 1
        pixels = turn.stats.useful_pixels // turn.stats.num_rows
        self.row_steps[pixels] += turn.stats.num_rows

    def _note(self, request_id: str, latency: float) -> None:
        if request_id in self._counted:
            self.latencies[self._counted[request_id]].append(latency)
