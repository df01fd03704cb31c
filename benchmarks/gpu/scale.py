"""How large the measurements are: for a large GPU, and for the tests of them on a CPU."""

from dataclasses import dataclass

from benchmarks.gpu.rungs import RUNGS


@dataclass(frozen=True, slots=True)
class Scale:
    """Sides of square pictures in pixels, rows of the UNet, and how long is measured.

    `first` are the sizes and rows that are looked at closely; `fake_service`: the service is loaded with its fake
    engine.
    """

    sizes: tuple[int, ...]
    rows: tuple[int, ...]
    first: tuple[tuple[int, int], ...]
    rungs: tuple[str, ...]
    num_steps: int
    rounds: int
    least_seconds: float
    matrix: int
    copy_mib: int
    load_seconds: float
    start_timeout: float
    fake_service: bool = False


FULL = Scale(
    sizes=(1024, 512, 768),
    rows=(1, 2, 4, 8, 16, 32),
    first=((1024, 8), (512, 16)),
    rungs=tuple(RUNGS),
    num_steps=20,
    rounds=5,
    least_seconds=0.25,
    matrix=8192,
    copy_mib=4096,
    load_seconds=40,
    start_timeout=400,
)

SMALL = Scale(
    sizes=(64, 128),
    rows=(1, 2, 4),
    first=((64, 4), (128, 2)),
    rungs=("eager", "channels_last", "fused QKV", "fastest attention"),
    num_steps=4,
    rounds=2,
    least_seconds=0.0,
    matrix=64,
    copy_mib=1,
    load_seconds=1.5,
    start_timeout=60,
    fake_service=True,
)
