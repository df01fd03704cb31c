"""Readers that take nothing: what each of them costs, and whether the others notice."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from benchmarks.comparison import Range
from benchmarks.engine.goals import Goal
from benchmarks.engine.pace import Pace
from benchmarks.fanout.processes import KIB, connected, running_server
from benchmarks.fanout.readers import POST
from benchmarks.results import Spread, spread
from benchmarks.tables import table

LARGEST_PREVIEW_BYTES = 90_000
MOST_KIB = 500_000 / KIB
SOCKETS = Path("/proc/net/sockstat")
PAGE_KIB = 4
RECEIVE_BUFFER_BYTES = 4096  # what the kernel holds for the readers is not the service's
SETTLE_SECONDS = 8.0  # until a stalled reader's buffers are full


class StalledRound(msgspec.Struct, frozen=True, kw_only=True):
    """KiB for each stalled reader, in the service and in the kernel, both ends; the others' delays in seconds."""

    service_kib: float
    kernel_kib: float
    delay_alone: Spread | None
    delay_beside: Spread | None

    @property
    def total_kib(self) -> float:
        return self.service_kib + self.kernel_kib


class Stalled(msgspec.Struct, frozen=True, kw_only=True, tag="stalled"):
    """`stalled` readers beside `readers`; previews of `preview_bytes` every `interval` seconds."""

    stalled: int
    readers: int
    preview_bytes: int
    interval: float
    rounds: list[StalledRound]

    @property
    def goals(self) -> list[Goal]:
        memory = Range.of([each.total_kib for each in self.rounds])
        delays = [(each.delay_alone, each.delay_beside) for each in self.rounds]
        slower = Range.of([beside.p50 / alone.p50 if alone and beside else float("inf") for alone, beside in delays])
        return [
            Goal("memory of a stalled reader, kernel included", memory, at_most=MOST_KIB, unit="KiB"),
            Goal(f"others' delay beside {self.stalled} stalled readers, median", slower),
        ]

    def table(self) -> str:
        rows = [
            (
                str(number),
                f"{each.service_kib:.0f}",
                f"{each.kernel_kib:.0f}",
                *_cells(each.delay_alone),
                *_cells(each.delay_beside),
            )
            for number, each in enumerate(self.rounds, 1)
        ]
        head = ("round", "in the service, KiB", "in the kernel, KiB", "others alone p50, ms", "p99, ms")
        return table((*head, "beside them p50, ms", "p99, ms"), rows)


def measure(
    pace: Pace,
    *,
    num_stalled: int = 100,
    readers: int = 100,
    preview_bytes: int = LARGEST_PREVIEW_BYTES,
    interval: float = 0.5,
    seconds: float = 5.0,
    settle: float = SETTLE_SECONDS,
) -> Stalled:
    """A service of its own for each round, so that memory once used is not used again."""
    rounds = [
        _round(
            num_stalled, readers, ("--preview-bytes", str(preview_bytes), "--interval", str(interval)), seconds, settle
        )
        for _ in pace.rounds()
    ]
    return Stalled(stalled=num_stalled, readers=readers, preview_bytes=preview_bytes, interval=interval, rounds=rounds)


def _round(num_stalled: int, readers: int, arguments: tuple[str, ...], seconds: float, settle: float) -> StalledRound:
    with running_server("benchmarks.fanout.service", *arguments) as server, connected(server.url, readers) as healthy:
        time.sleep(settle)
        alone = _window(seconds)
        service, kernel = server.resident_kib, kernel_kib()
        with stalled_readers(server.url, num_stalled):
            time.sleep(settle)
            beside = _window(seconds)
            service, kernel = server.resident_kib - service, kernel_kib() - kernel
        arrivals = healthy.arrivals()
    return StalledRound(
        service_kib=service / num_stalled,
        kernel_kib=kernel / num_stalled,
        delay_alone=spread(arrivals.delays_between(*alone)),
        delay_beside=spread(arrivals.delays_between(*beside)),
    )


def _window(seconds: float) -> tuple[float, float]:
    began = time.monotonic()
    time.sleep(seconds)
    return began, time.monotonic()


@contextmanager
def stalled_readers(url: str, count: int) -> Iterator[None]:
    """They ask, and then take nothing."""
    with ExitStack() as stack:
        for _ in range(count):
            reader = stack.enter_context(socket.socket())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            target = urlsplit(url)
            reader.connect((target.hostname, target.port))
            reader.sendall(POST)
        yield


def kernel_kib() -> float:
    """What the kernel holds for all TCP sockets of this machine; 0 where it does not tell."""
    lines = SOCKETS.read_text().splitlines() if SOCKETS.exists() else []
    fields = next((line.split() for line in lines if line.startswith("TCP:")), [])
    return float(fields[fields.index("mem") + 1]) * PAGE_KIB if "mem" in fields else 0.0


def _cells(delay: Spread | None) -> tuple[str, str]:
    return (f"{delay.p50 * 1000:.1f}", f"{delay.p99 * 1000:.1f}") if delay else ("", "")
