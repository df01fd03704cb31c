"""Results as they are stored: samples, what they sum up to, and the machine they were taken on."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.environment import Environment
from benchmarks.workload import Workload


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One request. Times in seconds; `intended` counts from the start of the run, all others from `intended`.

    `error` is None for a finished image, else a kind: `http_503`, `timeout`, `connection`, `failed` (an error event),
    `invalid` (an event that is not JSON of the right kind) or `truncated` (the stream ended without its final image).
    """

    index: int
    steps: int
    intended: float
    sent: float
    previews: tuple[float, ...]
    ended: float
    received_bytes: int
    error: str | None = None


class Spread(msgspec.Struct, frozen=True):
    """Of `n` values: extremes, mean, standard deviation and percentiles (linear between neighbours)."""

    n: int
    min: float
    mean: float
    stdev: float
    p50: float
    p90: float
    p99: float
    max: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Of one run; latencies in seconds, None where nothing was measured. `seconds` lasts to the last request's end."""

    seconds: float
    images: int
    images_per_second: float
    first_preview: Spread | None
    preview_interval: Spread | None
    end_to_end: Spread | None
    send_delay: Spread | None
    errors: dict[str, int]


class LoadResult(msgspec.Struct, frozen=True, kw_only=True, tag="load"):
    """One load run: either `clients` (closed loop) or `rate` in requests a second (open loop) is set."""

    name: str
    url: str
    clients: int | None
    rate: float | None
    workload: Workload
    environment: Environment
    summary: Summary
    samples: list[Sample]


def spread(values: Iterable[float]) -> Spread | None:
    """The spread of `values`, None if there are none."""
    data = np.fromiter(values, dtype=np.float64)
    if not data.size:
        return None
    p50, p90, p99 = np.percentile(data, (50, 90, 99))
    figures = (data.min(), data.mean(), data.std(), p50, p90, p99, data.max())
    return Spread(int(data.size), *(round(float(figure), 6) for figure in figures))


def summarise(samples: Sequence[Sample]) -> Summary:
    """Latencies are those of finished images; failures are counted by kind."""
    finished = [sample for sample in samples if sample.error is None]
    seconds = max((s.intended + s.ended for s in samples), default=0.0) - min(
        (s.intended for s in samples), default=0.0
    )
    return Summary(
        seconds=round(seconds, 6),
        images=len(finished),
        images_per_second=round(len(finished) / seconds, 6) if seconds > 0 else 0.0,
        first_preview=spread(sample.previews[0] for sample in finished if sample.previews),
        preview_interval=spread(b - a for sample in finished for a, b in pairwise(sample.previews)),
        end_to_end=spread(sample.ended for sample in finished),
        send_delay=spread(sample.sent for sample in samples),
        errors=dict(Counter(sample.error for sample in samples if sample.error is not None)),
    )


def save(result: msgspec.Struct, path: Path) -> None:
    """Writes readable JSON, parents included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
