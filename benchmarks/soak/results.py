"""What a run of mixed traffic came to."""

from collections import Counter

import msgspec

from benchmarks.environment import Environment
from benchmarks.results import Spread, spread
from benchmarks.soak.accounts import Account, problems
from benchmarks.soak.memory import Growth, MemorySample, growth
from benchmarks.soak.visitor import Ending
from benchmarks.tables import environment_line, table

WARM_UP_SHARE = 0.3  # of the run: caches fill, allocators find their size
MOST_GROWTH = 0.05  # of the memory, over the rest of the run
NOISE_MIB = 8.0  # what comes and goes: pictures kept for a while, what an allocator holds back
FLATNESS_SECONDS = 120.0  # a shorter run says nothing about growth


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to run: the service's options, closed-loop clients, for how long to send; the model's own size in pixels."""

    options: list[str]
    clients: int
    seconds: float
    size: int


class SoakResult(msgspec.Struct, frozen=True, kw_only=True, tag="soak"):
    """One run; `endings` in the order in which they came, `seconds` from the first request to the last end."""

    plan: Plan
    seconds: float
    environment: Environment
    accounts: list[Account]
    endings: list[Ending]
    memory: list[MemorySample]

    @property
    def latency(self) -> Spread | None:
        """Of finished requests, one picture or several, in seconds."""
        return spread(ending.seconds for ending in self.endings if ending.outcome == "ok")

    @property
    def service_growth(self) -> Growth | None:
        return self._growth([sample.service_mib for sample in self.memory])

    @property
    def worker_growth(self) -> Growth | None:
        return self._growth([sample.worker_mib for sample in self.memory])

    @property
    def problems(self) -> list[str]:
        return problems(self.endings, self.accounts) + self._growth_problems()

    def _growth(self, mib: list[float]) -> Growth | None:
        return growth([sample.at for sample in self.memory], mib, WARM_UP_SHARE * self.seconds)

    def _growth_problems(self) -> list[str]:
        if self.seconds < FLATNESS_SECONDS:
            return []
        growths = {"service": self.service_growth, "worker": self.worker_growth}
        return [
            f"the memory of the {name} grew by {grown.mib:.1f} MiB"
            for name, grown in growths.items()
            if grown is not None and grown.mib > max(NOISE_MIB, MOST_GROWTH * grown.mean_mib)
        ]


def soak_table(result: SoakResult) -> str:
    rows = [(each.what, f"{each.clients:g}", f"{each.service:g}") for each in result.accounts]
    kinds = Counter(ending.kind for ending in result.endings)
    mixture = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
    run = f"{len(result.endings)} requests of {result.plan.clients} clients in {result.seconds:.0f} s"
    lines = [table(("requests", "clients", "service"), rows), "", f"{run}: {mixture}."]
    if latency := result.latency:
        lines.append(f"Finished after {latency.p50:.2f} s (p50), {latency.p99:.2f} s (p99).")
    for name, grown in (("Service", result.service_growth), ("Worker", result.worker_growth)):
        if grown:
            figures = f"{grown.mean_mib:.0f} MiB after the warm-up, {grown.mib:+.1f} MiB over the rest"
            lines.append(f"{name}: {figures} ({grown.mib_an_hour:+.0f} MiB an hour).")
    lines.append(environment_line(result.environment))
    return "\n".join(lines)
