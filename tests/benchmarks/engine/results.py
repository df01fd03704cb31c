"""Stored measurements for tests."""

from benchmarks.engine.parts import PartTimes
from benchmarks.engine.results import Measurement, Result
from benchmarks.engine.stages.curve import Curve, Point, Size
from benchmarks.engine.stages.joiner import Joiner, JoinerRound
from benchmarks.engine.stages.mixed import Mixed, MixedRound, SizeFigures
from benchmarks.engine.stages.overhead import Overhead
from benchmarks.engine.stages.previews import EVERY_FIFTH, Previews
from benchmarks.engine.stages.samplers import Samplers, SamplerTime
from benchmarks.engine.stages.saturation import Saturation, SaturationRound
from benchmarks.environment import describe_environment
from scheduler.messages import StepTime

PARTS = PartTimes(
    rows=32, unet=0.4, preview_decode=0.01, vae_decode=0.1, preview_encode=0.001, image_encode=0.002, cores=2
)

RESULTS: dict[str, Result] = {
    "saturation": Saturation(
        size=256,
        num_steps=20,
        preview_every=5,
        max_rows=32,
        has_amx=False,
        rounds=[
            SaturationRound(engine=1.8, bound=1.9, pipeline=0.8, mean_rows=32, least_waiting=1, parts=PARTS),
            SaturationRound(engine=1.9, bound=2.0, pipeline=0.9, mean_rows=32, least_waiting=1, parts=PARTS),
        ],
    ),
    "overhead": Overhead(rows=32, shares=[0.01, 0.02], profile={"unet": 0.35, "sampler": 0.002}),
    "previews": Previews(count=16, num_steps=10, seconds={"none": [8.0], EVERY_FIFTH: [8.4]}),
    "joiner": Joiner(
        num_steps=4,
        others_steps=40,
        rows=32,
        rounds=[JoinerRound(joining=2.0, among_its_kind=2.5, into_step=0.1)],
    ),
    "mixed": Mixed(
        clients=48,
        num_steps=8,
        mean_rows=24,
        sizes=[
            SizeFigures(width=256, height=256, latencies=[8.0, 9.0, 10.0]),
            SizeFigures(width=320, height=320, latencies=[12.0]),
        ],
        rounds=[
            MixedRound(seconds=100, row_steps=[4000, 2000], single=[0.012, 0.02]),
            MixedRound(seconds=100, row_steps=[4000, 2000], single=[0.013, 0.021]),
        ],
    ),
    "samplers": Samplers(times={"euler": [SamplerTime(request=0.0001, unet=0.35, batch_size=16)]}),
    "curve": Curve(
        calibrated=[StepTime(65536, 2, 0.06)],
        sizes=[Size(size=256, knee=8, max_rows=32)],
        points=[
            Point(size=256, rows=2, measured=[0.05, 0.06], predicted=0.06),
            Point(size=256, rows=32, measured=[0.4, 0.41], predicted=0.4),
        ],
    ),
}


def make_measurement(stage: str, dtype: str = "bfloat16", seconds: float = 10.0) -> Measurement:
    return Measurement(
        stage=stage,
        model="postcard",
        dtype=dtype,
        seconds=seconds,
        environment=describe_environment(),
        result=RESULTS[stage],
    )


def all_measurements(*dtypes: str) -> list[Measurement]:
    return [make_measurement(stage, dtype) for dtype in dtypes for stage in RESULTS]
