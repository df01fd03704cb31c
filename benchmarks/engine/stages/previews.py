"""What previews cost: whole batches with and without them, in turn."""

from collections.abc import Mapping
from typing import Any

import msgspec

from benchmarks.comparison import Range
from benchmarks.engine.goals import Goal
from benchmarks.engine.pace import Pace
from benchmarks.engine.wave import run_wave
from benchmarks.engine.workbench import Workbench
from benchmarks.tables import table

MOST_COST = 0.08
EVERY_FIFTH = "every 5th step, full size"


class Previews(msgspec.Struct, frozen=True, kw_only=True, tag="previews"):
    """Seconds for a full batch of `count` requests from the first step to the last picture, by kind, one a round."""

    count: int
    num_steps: int
    seconds: dict[str, list[float]]

    def cost(self, kind: str) -> list[float]:
        """The share of the throughput that previews take, by round."""
        return [1 - none / some for none, some in zip(self.seconds["none"], self.seconds[kind], strict=True)]

    @property
    def goals(self) -> list[Goal]:
        what = f"previews at {EVERY_FIFTH}: cost"
        return [Goal(what, Range.of(self.cost(EVERY_FIFTH)), at_most=MOST_COST, unit="%")]

    def table(self) -> str:
        rows = []
        for kind, seconds in self.seconds.items():
            speed, cost = Range.of([self.count / each for each in seconds]), Range.of(self.cost(kind))
            rows.append((kind, f"{speed.median:.2f}", f"{cost.median:.1%} ({cost.min:.1%} to {cost.max:.1%})"))
        return table(("previews", "images/s", "cost"), rows)


def kinds(size: int) -> Mapping[str, Mapping[str, Any]]:
    """What is asked of previews, for a model of `size` pixels: none, the usual, every step at three sizes."""
    every_step = {
        f"every step, {size // part} pixels": {"preview_every": 1, "preview_size": size // part} for part in (1, 2, 4)
    }
    return {"none": {"preview_every": 0}, EVERY_FIFTH: {"preview_every": 5, "preview_size": size}, **every_step}


def measure(bench: Workbench, pace: Pace, *, num_steps: int = 10) -> Previews:
    wanted = kinds(bench.size)
    count = bench.capacity(bench.params())
    seconds: dict[str, list[float]] = {kind: [] for kind in wanted}
    for _ in pace.rounds():
        for kind, options in wanted.items():
            wave = run_wave(bench, bench.params(num_steps=num_steps, **options), count)
            seconds[kind].append(wave.seconds)
    return Previews(count=count, num_steps=num_steps, seconds=seconds)
