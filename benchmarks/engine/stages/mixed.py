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
from benchmarks.engine.workbench import Turn, Workbench, open_beside
from benchmarks.tables import table
from scheduler.messages import Finished
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

CROWD = 9
"""Batches that the clients would fill. A service lets some thirty wait, unless it is told otherwise."""

LEAST = 2 * sum(SHARES.values())
"""So many requests in a row hold each size at least once."""


class SizeFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from arrival to the encoded picture."""

    width: int
    height: int
    latencies: list[float]

    @property
    def p99(self) -> float:
        return float(np.percentile(self.latencies, 99))


class MixedRound(msgspec.Struct, frozen=True, kw_only=True):
    """By size: the `row_steps` that the mixture made in `seconds`, and what one takes in a full batch of that size
    alone, which was measured in between."""

    seconds: float
    row_steps: list[int]
    single: list[float]

    @property
    def efficiency(self) -> float:
        """The time that the same work would have taken in full batches of one size each, of the time it took."""
        return sum(count * each for count, each in zip(self.row_steps, self.single, strict=True)) / self.seconds


class Mixed(msgspec.Struct, frozen=True, kw_only=True, tag="mixed"):
    """`clients` ask for one picture after the other. `sizes` from the commonest to the rarest."""

    clients: int
    num_steps: int
    mean_rows: float
    sizes: list[SizeFigures]
    rounds: list[MixedRound]

    @property
    def goals(self) -> list[Goal]:
        rarest, commonest = self.sizes[-1], self.sizes[0]
        ratio = rarest.p99 / commonest.p99
        return [
            Goal("p99 of the rarest size, against the commonest", Range.of([ratio]), at_most=MOST_TIMES),
            Goal(
                "mixed sizes' throughput, of single-size batches",
                Range.of([each.efficiency for each in self.rounds]),
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


def measure(bench: Workbench, pace: Pace, *, num_steps: int = 20, crowd: int = CROWD) -> Mixed:
    """`crowd` times as many clients as a batch holds. Mixture and full batches of one size take turns in each round."""
    sizes = [sized(bench, width, height, num_steps) for width, height in SHARES]
    load = Load(bench, sizes, clients=crowd * bench.capacity(sizes[0]))
    load.run(num_sent=1)
    with open_beside(bench) as alone:
        rounds = [_round(load, alone, sizes) for _ in pace.rounds()]
    load.run(num_sent=LEAST)
    load.run_out()
    return Mixed(
        clients=load.clients,
        num_steps=num_steps,
        mean_rows=load.mean_rows,
        sizes=[
            SizeFigures(width=params.width, height=params.height, latencies=load.latencies[params.pixels])
            for params in sizes
        ],
        rounds=rounds,
    )


def _round(load: "Load", alone: Workbench, sizes: list[GenerateParams]) -> MixedRound:
    """A full batch of each size, and after each as much time for the mixture."""
    began, before = load.seconds, Counter(load.row_steps)
    single = []
    for params in sizes:
        count = alone.capacity(params)
        wave = run_wave(alone, params, count)
        single.append(wave.seconds / (count * params.num_rows * params.num_steps))
        load.run(seconds=wave.seconds)
    made = [load.row_steps[params.pixels] - before[params.pixels] for params in sizes]
    return MixedRound(seconds=load.seconds - began, row_steps=made, single=single)


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


class Load:
    """A closed loop: each client asks for its next picture when its last one has come.

    Its clock, `seconds`, stands still while others use the engine; `row_steps` were made by then. Latencies are by that
    clock, of the requests that were sent after each client's first.
    """

    def __init__(self, bench: Workbench, sizes: list[GenerateParams], clients: int) -> None:
        self.clients = clients
        self.seconds = 0.0
        self.latencies: dict[int, list[float]] = defaultdict(list)
        self.row_steps: Counter[int] = Counter()
        self._bench = bench
        self._sizes = sizes
        self._deck = deck(seed=0)
        self._sent: dict[str, tuple[int, float]] = {}  # pixels and time, by request
        self._turns = 0
        for _ in range(clients):
            bench.submit(self._draw())

    @property
    def mean_rows(self) -> float:
        return self.row_steps.total() / self._turns

    def run(self, seconds: float = 0.0, num_sent: int = 0) -> None:
        """Goes on for so long, and until at least so many were sent after each client's first."""
        ends = self.seconds + seconds
        while self.seconds < ends or len(self._sent) < num_sent:
            for _ in self._turn():
                params = self._draw()
                self._sent[self._bench.submit(params)] = (params.pixels, self.seconds)

    def run_out(self) -> None:
        """Nobody asks any more."""
        while self._bench.is_busy:
            self._turn()

    def _draw(self) -> GenerateParams:
        return self._sizes[next(self._deck)]

    def _turn(self) -> list[Finished]:
        began = time.perf_counter()
        turn = self._bench.try_turn()
        if turn is not None:
            self._count(turn)
        finished = self._bench.arrivals()
        self.seconds += time.perf_counter() - began
        for each in finished:
            if each.request_id in self._sent:
                pixels, sent_at = self._sent[each.request_id]
                self.latencies[pixels].append(self.seconds - sent_at)
        return finished

    def _count(self, turn: Turn) -> None:
        self._turns += 1
        self.row_steps[turn.stats.useful_pixels // turn.stats.num_rows] += turn.stats.num_rows
