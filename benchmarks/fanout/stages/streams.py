"""Thousands of streams in one process, each with a preview a second: how long a preview is under way."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from benchmarks.comparison import Range
from benchmarks.engine.goals import Goal
from benchmarks.engine.pace import Pace
from benchmarks.fanout.processes import Server, connected, running_server
from benchmarks.fanout.readers import Arrivals
from benchmarks.fanout.stages.cost import PREVIEW_BYTES
from benchmarks.results import Spread, spread
from benchmarks.tables import table

STREAMS = 5000
MOST_MS = 250.0
LEAST_DELIVERED = 0.99
WARM_UP_SECONDS = 3.0


class StreamsRound(msgspec.Struct, frozen=True, kw_only=True):
    """`delay`: seconds from when a preview is due at the worker to when the client has it. Of the previews that were
    due, `delivered` is the share that came, and `gave_way` the share that newer ones took the place of. `cpu_share` of
    one core, of the service.
    """

    seconds: float
    delay: Spread | None
    delivered: float
    gave_way: float
    cpu_share: float


class Streams(msgspec.Struct, frozen=True, kw_only=True, tag="streams"):
    """`interval` in seconds; `quantiles`: delays of all rounds in seconds, at each percent from 0 to 100."""

    streams: int
    interval: float
    connect_seconds: float
    service_mib: float
    rounds: list[StreamsRound]
    quantiles: list[float]

    @property
    def goals(self) -> list[Goal]:
        load = f"{self.streams:,} streams, a preview every {self.interval:g} s"
        enough = None if self.streams >= STREAMS else f"{STREAMS:,} streams"
        delays = Range.of([each.delay.p99 * 1000 if each.delay else float("inf") for each in self.rounds])
        delivered = Range.of([each.delivered for each in self.rounds])
        return [
            Goal(f"{load}: p99 of their delay", delays, at_most=MOST_MS, unit="ms", only_with=enough),
            Goal(f"{load}: delivered", delivered, at_least=LEAST_DELIVERED, unit="%", only_with=enough),
        ]

    def table(self) -> str:
        rows = [(f"{number}", *_cells(each)) for number, each in enumerate(self.rounds, 1)]
        head = table(
            ("round", "p50, ms", "p90, ms", "p99, ms", "max, ms", "delivered", "gave way", "CPU of a core"), rows
        )
        return f"{head}\n\nopened in {self.connect_seconds:.1f} s; service: {self.service_mib:.0f} MiB"


def measure(
    pace: Pace,
    *,
    streams: int = STREAMS,
    interval: float = 1.0,
    seconds: float = 10.0,
    warm_up: float = WARM_UP_SECONDS,
) -> Streams:
    arguments = ("--preview-bytes", str(PREVIEW_BYTES), "--interval", str(interval))
    with running_server("benchmarks.fanout.service", *arguments) as server:
        began = time.monotonic()
        with connected(server.url, streams) as readers:
            connect_seconds = time.monotonic() - began
            time.sleep(warm_up)
            windows = [_watch(server, seconds) for _ in pace.rounds()]
            memory = server.resident_kib / 1024
            arrivals = readers.arrivals()
    return Streams(
        streams=streams,
        interval=interval,
        connect_seconds=connect_seconds,
        service_mib=memory,
        rounds=[_round(arrivals, window, streams / interval) for window in windows],
        quantiles=quantiles([delay for each in windows for delay in arrivals.delays_between(each.began, each.ended)]),
    )


class Window(NamedTuple):
    """From `began` to `ended`, in monotonic seconds."""

    began: float
    ended: float
    cpu_share: float


def _watch(server: Server, seconds: float) -> Window:
    began = time.monotonic()
    share = server.cpu_share(seconds)
    return Window(began, time.monotonic(), share)


def _round(arrivals: Arrivals, window: Window, rate: float) -> StreamsRound:
    """With `rate` previews a second due."""
    began, ended, share = window
    delays, num_due = arrivals.delays_between(began, ended), rate * (ended - began)
    return StreamsRound(
        seconds=ended - began,
        delay=spread(delays),
        delivered=len(delays) / num_due,
        gave_way=arrivals.skipped_between(began, ended) / num_due,
        cpu_share=share,
    )


def quantiles(delays: Sequence[float]) -> list[float]:
    """At each percent from 0 to 100; none of nothing."""
    return [float(value) for value in np.percentile(delays, range(101))] if delays else []


def _cells(each: StreamsRound) -> tuple[str, ...]:
    delay = each.delay
    figures = (delay.p50, delay.p90, delay.p99, delay.max) if delay else ()
    cells = [f"{value * 1000:.1f}" for value in figures] or [""] * 4
    return (*cells, f"{each.delivered:.1%}", f"{each.gave_way:.1%}", f"{each.cpu_share:.0%}")
