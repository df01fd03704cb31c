"""Stored measurements for tests."""

from benchmarks.environment import describe_environment
from benchmarks.fanout.results import Measurement, Result
from benchmarks.fanout.stages.admission import Admission, Beside
from benchmarks.fanout.stages.cost import Peers, Pipeline, Write
from benchmarks.fanout.stages.idle import Idle, Point
from benchmarks.fanout.stages.stalled import Stalled, StalledRound
from benchmarks.fanout.stages.streams import Streams, StreamsRound
from benchmarks.results import Spread, spread


def make_spread(median: float) -> Spread:
    """Of three values: half the median, itself, and a hundred times as much."""
    values = spread([median / 2, median, median * 100])
    assert values is not None
    return values


VERSIONS = {"aiohttp": "3.14.5"}

RESULTS: dict[str, Result] = {
    "write": Write(
        event_bytes=20_139,
        rounds=[{"bare": 10e-6, "write_frame": 11e-6}, {"bare": 10e-6, "write_frame": 12e-6}],
        versions=VERSIONS,
    ),
    "pipeline": Pipeline(
        event_bytes=20_139, rounds=[{"bare": 10e-6, "service": 70e-6}], versions=VERSIONS, delivered=[1.0]
    ),
    "streams": Streams(
        streams=5000,
        interval=1.0,
        connect_seconds=20.0,
        service_mib=300.0,
        rounds=[
            StreamsRound(seconds=10.0, delay=spread([0.001, 0.002, 0.1]), delivered=0.97, gave_way=0.02, cpu_share=0.3)
        ],
        quantiles=[0.001 * percent for percent in range(1, 102)],
    ),
    "idle": Idle(
        watchers=[Point(0, 1000.0), Point(100, 2500.0), Point(200, 4200.0)],
        with_generation=[Point(0, 1000.0), Point(100, 4000.0), Point(200, 7000.0)],
    ),
    "stalled": Stalled(
        stalled=10,
        readers=20,
        preview_bytes=90_000,
        interval=0.5,
        rounds=[
            StalledRound(service_kib=240.0, kernel_kib=130.0, delay_alone=spread([0.001]), delay_beside=spread([0.002]))
        ],
    ),
    "admission": Admission(
        besides=[
            Beside(state=state, under_way=number, rounds=[make_spread(p50) for p50 in medians])
            for state, number, medians in (
                ("wait", 10, [40e-6, 50e-6]),
                ("wait", 5000, [48e-6, 50e-6]),
                ("run", 10, [40e-6, 40e-6]),
                ("run", 5000, [80e-6, 100e-6]),
            )
        ]
    ),
    "peers": Peers(
        event_bytes=20_139,
        rounds=[{"bare": 10e-6, "write_frame": 11e-6, "aiohttp_sse": 120e-6, "starlette": 130e-6}],
        versions=VERSIONS,
    ),
}


def make_measurement(stage: str, seconds: float = 10.0) -> Measurement:
    return Measurement(stage=stage, seconds=seconds, environment=describe_environment(), result=RESULTS[stage])
