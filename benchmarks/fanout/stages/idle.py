"""Resident memory of streams that have nothing to say."""

import json
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise

import msgspec

from benchmarks.comparison import Range
from benchmarks.engine.goals import Goal
from benchmarks.engine.pace import Pace
from benchmarks.fanout.processes import Server, connected, running_server
from benchmarks.fanout.readers import BODY
from benchmarks.tables import table

MOST_KIB = 16.0
WARM_UP_STREAMS = 300
SETTLE_SECONDS = 1.0


class Point(msgspec.Struct, frozen=True):
    """What the service holds with so many streams open, beyond those of the warm-up."""

    streams: int
    resident_kib: float


class Idle(msgspec.Struct, frozen=True, kw_only=True, tag="idle"):
    """`watchers`: all of one generation. `with_generation`: each has one of its own, that runs."""

    watchers: list[Point]
    with_generation: list[Point]

    @property
    def goals(self) -> list[Goal]:
        return [
            Goal("memory of an idle stream", slopes(self.watchers), at_most=MOST_KIB, unit="KiB"),
            Goal("memory of an idle stream and its generation", slopes(self.with_generation), unit="KiB"),
        ]

    def table(self) -> str:
        rows = [
            (f"{one.streams:,}", f"{one.resident_kib / 1024:.1f}", f"{two.resident_kib / 1024:.1f}")
            for one, two in zip(self.watchers, self.with_generation, strict=True)
        ]
        return table(("streams", "of one generation, MiB", "each of its own, MiB"), rows)


def slopes(points: Sequence[Point]) -> Range:
    """KiB a stream, from each point to the next."""
    return Range.of([(b.resident_kib - a.resident_kib) / (b.streams - a.streams) for a, b in pairwise(points)])


def measure(
    pace: Pace,  # noqa: ARG001 - one round tells it: the slope has a spread of its own
    *,
    steps: int = 4,
    step: int = 1000,
    warm_up: int = WARM_UP_STREAMS,
    settle: float = SETTLE_SECONDS,
) -> Idle:
    measured = []
    for where in (_new_generation, lambda server: server.url):
        with running_server("benchmarks.fanout.service", "--preview-bytes", "0") as server:
            measured.append(_points(server, where(server), steps, step, warm_up, settle))
    return Idle(watchers=measured[0], with_generation=measured[1])


def _points(server: Server, url: str, steps: int, step: int, warm_up: int, settle: float) -> list[Point]:
    points = []
    with ExitStack() as open_streams:
        open_streams.enter_context(connected(url, warm_up))
        for number in range(steps + 1):
            if number:
                open_streams.enter_context(connected(url, step))
            time.sleep(settle)
            points.append(Point(number * step, server.resident_kib))
    return points


def _new_generation(server: Server) -> str:
    """Where to watch it."""
    request = urllib.request.Request(f"{server.url}/v1/generations", BODY, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return f"{server.url}{json.load(answer)['events_url']}"
