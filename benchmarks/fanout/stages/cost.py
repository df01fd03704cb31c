"""What an event costs: CPU time of the process that writes it, against a bare protocol that writes the same bytes."""

import asyncio
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import ClassVar, NamedTuple, Self

import msgspec
import uvloop

from benchmarks.comparison import Range
from benchmarks.engine.goals import Goal
from benchmarks.engine.pace import Pace
from benchmarks.fanout.events import preview_frame
from benchmarks.fanout.processes import Server, connected_to, on_served_core, running_server
from benchmarks.fanout.readers import Arrivals
from benchmarks.fanout.turns import open_turns
from benchmarks.tables import table

PREVIEW_BYTES = 15_000  # an event of 20 kB
BARE = "bare"
BARE_EACH = "bare_each"
SERVICE = "service"
LABELS = {
    BARE: "a bare uvloop protocol",
    "write_frame": "`EventStream.write_frame`",
    SERVICE: "the whole service",
    "aiohttp_sse": "`EventSourceResponse.send` of aiohttp-sse",
    "starlette": "FastAPI and sse-starlette, uvicorn with httptools",
}
SETTLE_SECONDS = 0.5


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """`rounds`: seconds of CPU time for one event to one stream, by way. `versions` of what was measured."""

    most: ClassVar[float | None] = None
    """Times what a bare protocol takes."""

    event_bytes: int
    rounds: list[dict[str, float]]
    versions: dict[str, str]

    @classmethod
    def of(cls, event_bytes: int, rounds: list[dict[str, float]], packages: Sequence[str]) -> Self:
        return cls(event_bytes=event_bytes, rounds=rounds, versions={name: version(name) for name in packages})

    @property
    def ways(self) -> list[str]:
        return list(self.rounds[0])

    def against_bare(self, way: str) -> Range:
        return Range.of([each[way] / each[BARE] for each in self.rounds])

    @property
    def goals(self) -> list[Goal]:
        what = "CPU of an event against a bare protocol: {}"
        others = [way for way in self.ways if way != BARE]
        return [Goal(what.format(LABELS[way]), self.against_bare(way), at_most=self.most) for way in others]

    def table(self) -> str:
        rows = [
            (LABELS[way], _microseconds([each[way] for each in self.rounds]), f"{self.against_bare(way).median:.2f}x")
            for way in self.ways
        ]
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        head = table(("who writes", "µs of CPU an event", "against bare"), rows)
        return f"{head}\n\nevents of {self.event_bytes:,} bytes, {len(self.rounds)} rounds; {versions}"


class Write(Costs, frozen=True, kw_only=True, tag="write"):
    """The write leg: an event that is encoded already."""

    most: ClassVar[float | None] = 1.15


class Pipeline(Costs, frozen=True, kw_only=True, tag="pipeline"):
    """The whole way: worker socket, base64, JSON, wake-up, write. `delivered`: which share of the previews came."""

    most: ClassVar[float | None] = 8.0
    delivered: list[float]

    @property
    def goals(self) -> list[Goal]:
        return [*super().goals, Goal("previews that came, of those due", Range.of(self.delivered), unit="%")]


class Peers(Costs, frozen=True, kw_only=True, tag="peers"):
    """Others that write the same event."""


def measure_write(pace: Pace, *, seconds: float = 2.0, streams: int = 50) -> Write:
    rounds = _in_turns((BARE, "write_frame"), pace, seconds, streams)
    return Write.of(_event_bytes(), rounds, ("aiohttp", "uvloop"))


def measure_peers(pace: Pace, *, seconds: float = 3.0, streams: int = 50) -> Peers:
    """Each also wakes what it needs to: a task for each stream with starlette, none with the others."""
    rounds = _in_turns((BARE, "write_frame", "aiohttp_sse", "starlette"), pace, seconds, streams)
    packages = ("aiohttp", "aiohttp-sse", "fastapi", "starlette", "sse-starlette", "uvicorn", "httptools", "uvloop")
    return Peers.of(_event_bytes(), rounds, packages)


def measure_pipeline(
    pace: Pace, *, seconds: float = 3.0, streams: int = 100, at_once: int = 50, interval: float = 0.02
) -> Pipeline:
    """`at_once`: how many of the streams get their previews in one go, and of a bare protocol's their events."""
    arguments = ("--preview-bytes", str(PREVIEW_BYTES), "--interval", str(interval))
    with running_server("benchmarks.fanout.service", *arguments) as server, on_served_core():
        windows, bare, arrivals = uvloop.run(_alternate(pace, server, seconds, streams, at_once))
    counts = [len(arrivals.delays_between(window.began, window.ended)) for window in windows]
    costs = [window.cpu_seconds / max(1, count) for window, count in zip(windows, counts, strict=True)]
    rounds = [{BARE: cheap, SERVICE: cost} for cheap, cost in zip(bare, costs, strict=True)]
    sent = [(window.ended - window.began) * streams / interval for window in windows]
    return Pipeline(
        event_bytes=_event_bytes(),
        rounds=rounds,
        versions={name: version(name) for name in ("aiohttp", "uvloop", "msgspec", "pybase64")},
        delivered=[count / expected for count, expected in zip(counts, sent, strict=True)],
    )


class Window(NamedTuple):
    """From `began` to `ended`, in monotonic seconds; `cpu_seconds` beyond what the idle process takes."""

    began: float
    ended: float
    cpu_seconds: float


async def _alternate(
    pace: Pace, server: Server, seconds: float, streams: int, at_once: int
) -> tuple[list[Window], list[float], Arrivals]:
    """The service and a bare protocol by turns; whoever is not measured stands still."""
    idle_share = await asyncio.to_thread(server.cpu_share, 1.0)
    windows, bare = [], []
    async with connected_to(server.url, streams) as readers, open_turns((BARE_EACH,), _frame(), at_once) as turns:
        for _ in pace.rounds():
            windows.append(await asyncio.to_thread(_watch, server, seconds, idle_share))
            server.stand_still()
            bare.append((await turns.round(seconds))[BARE_EACH])
            server.go_on()
        return windows, bare, await asyncio.to_thread(readers.arrivals)


def _watch(server: Server, seconds: float, idle_share: float) -> Window:
    time.sleep(SETTLE_SECONDS)
    began, spent = time.monotonic(), server.cpu_seconds
    time.sleep(seconds)
    ended, used = time.monotonic(), server.cpu_seconds - spent
    return Window(began, ended, used - idle_share * (ended - began))


def _in_turns(ways: Sequence[str], pace: Pace, seconds: float, streams: int) -> list[dict[str, float]]:
    async def measure() -> list[dict[str, float]]:
        async with open_turns(ways, _frame(), streams) as turns:
            await turns.round(SETTLE_SECONDS)
            return [await turns.round(seconds) for _ in pace.rounds()]

    with on_served_core():
        return uvloop.run(measure())


def _frame() -> bytes:
    return preview_frame(PREVIEW_BYTES)


def _event_bytes() -> int:
    return len(_frame())


def _microseconds(seconds: Sequence[float]) -> str:
    low, middle, high = (f"{value * 1e6:.1f}" for value in msgspec.structs.astuple(Range.of(seconds)))
    return middle if low == high else f"{middle} ({low} to {high})"
