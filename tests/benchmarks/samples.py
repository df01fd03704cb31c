"""Results for tests."""

from collections.abc import Callable
from typing import Any

from benchmarks.comparison import Comparison, Round, summarise_rounds
from benchmarks.environment import describe_environment
from benchmarks.results import LoadResult, Sample, Spread, summarise
from benchmarks.soak.accounts import Account
from benchmarks.soak.memory import MemorySample
from benchmarks.soak.results import Plan, SoakResult
from benchmarks.soak.visitor import Ending
from benchmarks.workload import Workload


def make_sample(**changes: Any) -> Sample:
    base = {"index": 0, "steps": 20, "intended": 0.0, "sent": 0.0, "previews": (0.5, 1.5), "ended": 2.0}
    return Sample(**{**base, "received_bytes": 1000, **changes})


def make_load_result(samples: list[Sample]) -> LoadResult:
    return LoadResult(
        name="test",
        url="http://127.0.0.1:8000/stream",
        clients=2,
        rate=None,
        workload=Workload(),
        environment=describe_environment(),
        summary=summarise(samples),
        samples=samples,
    )


def make_round(mode: str, number: int, seconds: float) -> Round:
    """A round of 10 images in `seconds`."""
    return Round(
        mode=mode,
        number=number,
        start_seconds=3.0,
        lone_first_preview=Spread(1, 0.2, 0.2, 0.0, 0.2, 0.2, 0.2, 0.2),
        service_mib=100.0,
        worker_mib=0.0 if mode == "naive" else 900.0,
        load=summarise([make_sample(index=index, ended=seconds) for index in range(10)]),
    )


def make_comparison(rounds: list[Round]) -> Comparison:
    return Comparison(
        name="test",
        dtype="float32",
        clients=16,
        count=10,
        workload=Workload(),
        environment=describe_environment(),
        figures=summarise_rounds(rounds),
        rounds=rounds,
    )


def make_ending(**changes: Any) -> Ending:
    base = {"index": 0, "kind": "watch", "route": "stream", "outcome": "ok", "images": 1, "at": 2.0, "seconds": 1.0}
    return Ending(**{**base, **changes})


def make_soak_result(
    seconds: float = 600.0,
    worker_mib: Callable[[float], float] = lambda _: 900.0,
    accounts: list[Account] | None = None,
) -> SoakResult:
    """Three requests, and memory sampled every second."""
    return SoakResult(
        plan=Plan(options=[], clients=4, seconds=seconds, size=256),
        seconds=seconds,
        environment=describe_environment(),
        accounts=accounts or [],
        endings=[
            make_ending(seconds=1.0),
            make_ending(seconds=3.0, at=5.0),
            make_ending(kind="vanish", outcome="cancelled", images=0),
        ],
        memory=[MemorySample(float(at), 70.0, worker_mib(at)) for at in range(round(seconds) + 1)],
    )
