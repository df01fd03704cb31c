"""What it takes to admit a generation, by how many are under way already."""

import asyncio
import contextlib
import gc
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Sequence

import msgspec
import uvloop

from benchmarks.comparison import Range
from benchmarks.engine.goals import Goal
from benchmarks.engine.pace import Pace
from benchmarks.fanout.crowd import Crowd
from benchmarks.fanout.processes import on_served_core
from benchmarks.fanout.replay import MAX_ROWS
from benchmarks.results import Spread, spread
from benchmarks.tables import table

UNDER_WAY = (10, 1000, 5000)
BATCHES = {"wait": 32, "run": MAX_ROWS}
"""UNet rows in a batch, by what nearly all do: `run`, because all find room in one, or `wait`."""
MOST = 2.0  # times what it takes with the fewest under way
SETTLE_SECONDS = 0.5


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """Beside `under_way` generations, nearly all of which `state`: seconds of CPU time an admission, for each round."""

    state: str
    under_way: int
    rounds: list[Spread]


class Admission(msgspec.Struct, frozen=True, kw_only=True, tag="admission"):
    """The longest admissions are those that make a new forecast of all that is under way."""

    besides: list[Beside]

    @property
    def goals(self) -> list[Goal]:
        return [_goal([each for each in self.besides if each.state == state]) for state in self._states]

    def table(self) -> str:
        rows = [(each.state, f"{each.under_way:,}", *_cells(each.rounds)) for each in self.besides]
        head = ("nearly all", "under way", "p50, µs", "p99, µs", "max, µs")
        first = self.besides[0].rounds
        return f"{table(head, rows)}\n\nCPU time of an admission; {len(first)} rounds of {first[0].n}"

    @property
    def _states(self) -> list[str]:
        return list(dict.fromkeys(each.state for each in self.besides))


def measure(
    pace: Pace, *, under_way: Sequence[int] = UNDER_WAY, count: int = 500, settle: float = SETTLE_SECONDS
) -> Admission:
    """`count` admissions a round beside each crowd; the crowds take turns."""
    with on_served_core():
        return uvloop.run(_measure(pace, under_way, count, settle))


async def _measure(pace: Pace, under_way: Sequence[int], count: int, settle: float) -> Admission:
    kinds = list(itertools.product(BATCHES, under_way))
    async with contextlib.AsyncExitStack() as stack:
        crowds = [await stack.enter_async_context(_gathered(number, BATCHES[state])) for state, number in kinds]
        await asyncio.sleep(settle)
        stack.enter_context(_uncollected())
        rounds = [[await _admissions(crowd, count) for crowd in crowds] for _ in pace.rounds()]
    return Admission(
        besides=[
            Beside(state=state, under_way=number, rounds=list(each))
            for (state, number), each in zip(kinds, zip(*rounds, strict=True), strict=True)
        ]
    )


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """The garbage collector would walk through all crowds at once, which no service has."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextlib.asynccontextmanager
async def _gathered(number: int, max_rows: int) -> AsyncIterator[Crowd]:
    crowd = Crowd(max_rows)
    async with crowd.open():
        for _ in range(number):
            crowd.admit()
        yield crowd


async def _admissions(crowd: Crowd, count: int) -> Spread:
    """Each is cancelled again."""
    seconds = []
    for _ in range(count):
        began = time.thread_time()
        generation = crowd.admit()
        seconds.append(time.thread_time() - began)
        await crowd.cancel(generation)
    taken = spread(seconds)
    assert taken is not None
    return taken


def _goal(besides: Sequence[Beside]) -> Goal:
    fewest, most = besides[0], besides[-1]
    ratios = [b.p50 / a.p50 for a, b in zip(fewest.rounds, most.rounds, strict=True)]
    what = f"CPU of an admission where {most.under_way:,} {most.state}, against {fewest.under_way:,}"
    return Goal(what, Range.of(ratios), at_most=MOST)


def _cells(rounds: Sequence[Spread]) -> tuple[str, ...]:
    """The median over rounds, of all but the longest."""
    figures = (Range.of([each.p50 for each in rounds]).median, Range.of([each.p99 for each in rounds]).median)
    return tuple(f"{seconds * 1e6:,.0f}" for seconds in (*figures, max(each.max for each in rounds)))
