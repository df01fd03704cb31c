"""What a step takes beside the model's own work, and where the time of a step goes."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from benchmarks.comparison import Range
from benchmarks.engine.flow import Flow
from benchmarks.engine.goals import Goal
from benchmarks.engine.pace import Pace
from benchmarks.engine.workbench import Turn, Workbench
from benchmarks.tables import table

MOST_OVERHEAD = 0.03


class Overhead(msgspec.Struct, frozen=True, kw_only=True, tag="overhead"):
    """`shares`, one a round: of a step at the cap that makes neither previews nor pictures, all but the UNet's pass.

    `profile`: mean seconds of a step at saturation by stage, with previews and pictures, from the queue to the queue.
    """

    rows: int
    shares: list[float]
    profile: dict[str, float]

    @property
    def goals(self) -> list[Goal]:
        what = "scheduler, gather, scatter and sampler, of a step"
        return [Goal(what, Range.of(self.shares), at_most=MOST_OVERHEAD, unit="%")]

    def table(self) -> str:
        total = sum(self.profile.values())
        rows = [(stage, f"{seconds * 1000:.2f}", f"{seconds / total:.1%}") for stage, seconds in self.profile.items()]
        return table(("stage", "ms a step", "share"), [*rows, ("all", f"{total * 1000:.2f}", "100.0%")])


def measure(
    bench: Workbench, pace: Pace, *, num_steps: int = 20, quiet_steps: int = 12, preview_every: int = 5
) -> Overhead:
    profile = _profile(bench, num_steps, preview_every)
    shares = [_overhead(bench, quiet_steps) for _ in pace.rounds()]
    return Overhead(rows=bench.cost.max_rows(bench.size**2), shares=shares, profile=profile)


def _profile(bench: Workbench, num_steps: int, preview_every: int) -> dict[str, float]:
    flow = Flow(bench, bench.params(num_steps=num_steps, preview_every=preview_every))
    window = flow.run(num_steps)
    bench.clear()
    return profile(window.turns)


def _overhead(bench: Workbench, quiet_steps: int) -> float:
    params = bench.params(num_steps=quiet_steps + 2, preview_every=0)
    for _ in range(bench.capacity(params)):
        bench.submit(params)
    bench.turn()  # the prompts are encoded here
    turns = [bench.turn() for _ in range(quiet_steps)]
    bench.clear()
    seconds = sum(turn.seconds for turn in turns)
    return 1 - sum(turn.unet for turn in turns) / seconds


def profile(turns: Sequence[Turn]) -> dict[str, float]:
    """Mean seconds a turn by stage: those that the engine tells, with what lies between them.

    The stage `unet` is split into the UNet's own pass, and the gathering and scattering of its rows.
    """
    seconds: Counter[str] = Counter()
    for turn in turns:
        stages = turn.stats.stages
        seconds.update({"unet": turn.unet, "gather and scatter": stages.get("unet", 0.0) - turn.unet})
        seconds.update({stage: spent for stage, spent in stages.items() if stage not in ("unet", "image_encode")})
        seconds.update(
            {
                "rest of the engine's step": turn.stats.duration - _inside(turn),
                "loop and scheduler": turn.seconds - turn.stats.duration,
            }
        )
    return {stage: spent / len(turns) for stage, spent in seconds.items()}


def _inside(turn: Turn) -> float:
    return sum(spent for stage, spent in turn.stats.stages.items() if stage != "image_encode")
