"""Results for tests."""

from typing import Any

from benchmarks.comparison import Comparison, Round, summarise_rounds
from benchmarks.environment import describe_environment
from benchmarks.results import LoadResult, Sample, Spread, summarise
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
