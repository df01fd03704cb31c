"""Results as a GPU would give them, made up."""

from benchmarks.environment import describe_environment
from benchmarks.gpu.card import Card
from benchmarks.gpu.store import Entry, GpuResults, Label, Point, Run, Subject

SUBJECT = Subject(model="sdxl-random", dtype="bfloat16", device="Some GPU", speedups="")
CARD = Card(
    name="Some GPU",
    memory_gib=139.8,
    multiprocessors=132,
    capability="9.0",
    cuda="13.0",
    cudnn="91000",
    settings={"driver_version": "580.1", "power.limit": "700.00 W"},
)


def point(what: dict[str, Label], **figures: list[float]) -> Point:
    return Point(what=what, figures=figures)


def step(side: int, rows: int, rung: str, seconds: float) -> Point:
    what: dict[str, Label] = {"side": side, "rows": rows, "rung": rung}
    return point(what, seconds=[seconds, 1.1 * seconds], flop=[rows * 6.76e12], ready=[1.0])


def cost(kind: str, seconds: float) -> Point:
    what: dict[str, Label] = {"work": "cost", "side": 1024, "rows": 8, "pictures a step": 0.2, "kind": kind}
    return point(what, seconds=[seconds, seconds])


def load(share: float) -> Point:
    what: dict[str, Label] = {"mode": "step", "side": 1024, "steps": "10, 20", "share": share}
    figures = {f"{name} {which}": [1.0 + share] for name in ("first preview", "end to end") for which in ("p50", "p99")}
    return Point(what=what, figures={"images a second": [1.5], **figures})


POINTS = {
    "steps": [step(1024, rows, rung, rows * 0.01) for rows in (2, 8) for rung in ("eager", "compile")],
    "previews": [
        cost("nothing decoded", 0.1),
        cost("pictures, inline", 0.12),
        cost("every step, 512 pixels, inline", 0.13),
    ],
    "serve": [load(share) for share in (0.0, 0.5, 0.8)],
}


def make_results() -> GpuResults:
    run = Run(environment=describe_environment(), card=CARD)
    entries = [
        Entry(stage=stage, task=stage, subject=SUBJECT, run=0, attempts=1, seconds=1.0, points=points)
        for stage, points in POINTS.items()
    ]
    return GpuResults(runs=[run], entries=entries)
