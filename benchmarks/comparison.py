"""What a comparison of ways to serve is made of, and how its rounds sum up."""

from collections.abc import Sequence
from statistics import median
from typing import Self

import msgspec

from benchmarks.environment import Environment
from benchmarks.results import Spread, Summary
from benchmarks.workload import Workload

BASELINE = "one"


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """One way to serve, started afresh and loaded once. Times in seconds, memory in MiB at its peak under load.

    `start_seconds` runs from the start of the process to its first ready answer; `lone_first_preview` is of requests
    that had the server to themselves. `worker_mib` is 0 where one process does all.
    """

    mode: str
    number: int
    start_seconds: float
    lone_first_preview: Spread | None
    service_mib: float
    worker_mib: float
    load: Summary


class Range(msgspec.Struct, frozen=True):
    """Over rounds."""

    min: float
    median: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Of at least one value."""
        return cls(min(values), median(values), max(values))


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One way to serve over all rounds; None: nothing measured. `speed_up` is against the same round's `one`."""

    images_per_second: Range | None
    speed_up: Range | None
    first_preview_p50: Range | None
    end_to_end_p50: Range | None
    end_to_end_p99: Range | None
    lone_first_preview: Range | None
    start_seconds: Range | None
    service_mib: Range | None
    worker_mib: Range | None
    errors: int


class Comparison(msgspec.Struct, frozen=True, kw_only=True, tag="comparison"):
    """`count` requests from `clients` closed-loop clients, for each mode in each round."""

    name: str
    dtype: str
    clients: int
    count: int
    workload: Workload
    environment: Environment
    figures: dict[str, Figures]
    rounds: list[Round]


def summarise_rounds(rounds: Sequence[Round]) -> dict[str, Figures]:
    """Figures by mode, in the order in which modes first ran."""
    baseline = {r.number: r.load.images_per_second for r in rounds if r.mode == BASELINE}
    modes = dict.fromkeys(r.mode for r in rounds)
    return {mode: _figures([r for r in rounds if r.mode == mode], baseline) for mode in modes}


def _figures(rounds: Sequence[Round], baseline: dict[int, float]) -> Figures:
    speeds = [(r.load.images_per_second, baseline.get(r.number)) for r in rounds]
    return Figures(
        images_per_second=range_of([r.load.images_per_second for r in rounds]),
        speed_up=range_of([speed / base for speed, base in speeds if base]),
        first_preview_p50=range_of([s.p50 for r in rounds if (s := r.load.first_preview)]),
        end_to_end_p50=range_of([s.p50 for r in rounds if (s := r.load.end_to_end)]),
        end_to_end_p99=range_of([s.p99 for r in rounds if (s := r.load.end_to_end)]),
        lone_first_preview=range_of([s.p50 for r in rounds if (s := r.lone_first_preview)]),
        start_seconds=range_of([r.start_seconds for r in rounds]),
        service_mib=range_of([r.service_mib for r in rounds]),
        worker_mib=range_of([r.worker_mib for r in rounds if r.worker_mib]),
        errors=sum(sum(r.load.errors.values()) for r in rounds),
    )


def range_of(values: Sequence[float]) -> Range | None:
    return Range.of(values) if values else None
