"""What each noise sampler takes of a step, beside the UNet."""

from statistics import mean, median

import msgspec

from benchmarks.comparison import Range
from benchmarks.engine.goals import Goal
from benchmarks.engine.pace import Pace
from benchmarks.engine.workbench import Workbench
from benchmarks.tables import table
from scheduler.request import SamplerName

MOST_OVERHEAD = 0.03


class SamplerTime(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of a step, guidance included; `unet` of the same steps."""

    request: float
    unet: float
    batch_size: int

    @property
    def share(self) -> float:
        """The batch's samplers, of the UNet's time."""
        return self.request * self.batch_size / self.unet


class Samplers(msgspec.Struct, frozen=True, kw_only=True, tag="samplers"):
    """By sampler, one time a round."""

    times: dict[SamplerName, list[SamplerTime]]

    @property
    def goals(self) -> list[Goal]:
        worst = max(self.times, key=lambda name: self._share(name))
        shares = Range.of([each.share for each in self.times[worst]])
        return [Goal(f"the slowest sampler ({worst}), of the UNet's time", shares, at_most=MOST_OVERHEAD, unit="%")]

    def table(self) -> str:
        rows = [
            (
                f"`{name}`",
                f"{median(each.request for each in times) * 1000:.3f}",
                f"{median(each.unet for each in times) * 1000:.1f}",
                f"{self._share(name):.2%}",
            )
            for name, times in self.times.items()
        ]
        return table(("sampler", "ms a request and step", "UNet, ms a step", "of the UNet's time"), rows)

    def _share(self, name: SamplerName) -> float:
        return median(each.share for each in self.times[name])


def measure(bench: Workbench, pace: Pace, *, steps: int = 5) -> Samplers:
    """The samplers take turns; each has the batch to itself."""
    times: dict[SamplerName, list[SamplerTime]] = {name: [] for name in bench.engine.info.samplers}
    for _ in pace.rounds():
        for name, rounds in times.items():
            rounds.append(_time(bench, name, steps))
    return Samplers(times=times)


def _time(bench: Workbench, name: SamplerName, steps: int) -> SamplerTime:
    """The first step is left out: prompts are encoded in it, and solvers of higher order start there."""
    params = bench.params(sampler=name, num_steps=steps + 3, preview_every=0)
    batch_size = bench.capacity(params)
    for _ in range(batch_size):
        bench.submit(params)
    bench.turn()
    turns = [bench.turn() for _ in range(steps)]
    bench.clear()
    return SamplerTime(
        request=mean(turn.stats.stages["sampler"] for turn in turns) / batch_size,
        unet=mean(turn.unet for turn in turns),
        batch_size=batch_size,
    )
