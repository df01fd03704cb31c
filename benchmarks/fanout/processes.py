"""The processes of a measurement: servers, which are watched and can be made to stand still, and readers."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from subprocess import PIPE
from typing import IO

import msgspec
import psutil

from benchmarks.environment import ROOT
from benchmarks.fanout.readers import Arrivals

KIB = 1024
START_SECONDS = 60.0
CONNECT_SECONDS = 300.0  # for thousands of streams, each with a generation of its own
END_SECONDS = 10.0
SAID_CHARACTERS = 2000


class FanoutError(Exception):
    """A process did not do what it should; the message says what it printed last."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server; `main` does what is measured, its children have another core where there is one."""

    url: str
    main: psutil.Process

    @property
    def cpu_seconds(self) -> float:
        """Of the main process, by its own clock: what clock_getcpuclockid(3) gives."""
        return time.clock_gettime((~self.main.pid << 3) | 2)

    @property
    def resident_kib(self) -> float:
        return float(self.main.memory_info().rss / KIB)

    def cpu_share(self, seconds: float) -> float:
        """Of one core, over so long from now."""
        began, spent = time.monotonic(), self.cpu_seconds
        time.sleep(seconds)
        return (self.cpu_seconds - spent) / (time.monotonic() - began)

    def stand_still(self) -> None:
        os.killpg(self.main.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.killpg(self.main.pid, signal.SIGCONT)


@contextmanager
def running_server(module: str, *arguments: str) -> Iterator[Server]:
    """Runs `python -m module arguments` on a core of its own until the block ends. Raises `FanoutError`."""
    with _running(module, *arguments) as process:
        url = process.wait_for("ready: ", START_SECONDS)
        main = psutil.Process(process.pid)
        _give_cores(main)
        try:
            yield Server(url, main)
        finally:
            os.killpg(process.pid, signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class Readers:
    """Streams of one server, read by one process."""

    _process: "_Process"

    def arrivals(self) -> Arrivals:
        """All that came, once; the streams end."""
        return msgspec.msgpack.decode(self._process.finish(), type=Arrivals)


@contextmanager
def connected(url: str, count: int) -> Iterator[Readers]:
    """`count` readers; returns when every stream has its answer. Raises `FanoutError`."""
    with _running("benchmarks.fanout.readers", url, str(count)) as process:
        _keep_off(psutil.Process(process.pid), served_core())
        process.wait_for("connected", CONNECT_SECONDS)
        yield Readers(process)


@asynccontextmanager
async def connected_to(url: str, count: int) -> AsyncIterator[Readers]:
    """As `connected`, to a server in this process."""
    readers = connected(url, count)
    opened = await asyncio.to_thread(readers.__enter__)
    try:
        yield opened
    finally:
        await asyncio.to_thread(readers.__exit__, None, None, None)


@contextmanager
def on_served_core() -> Iterator[None]:
    """Puts this thread there, for what is measured in it."""
    before, core = os.sched_getaffinity(0), served_core()
    os.sched_setaffinity(0, before if core is None else {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def served_core() -> int | None:
    """The core that the measured process has to itself; None where there is only one."""
    cores = os.sched_getaffinity(0)
    return max(cores) if len(cores) > 1 else None


def _give_cores(main: psutil.Process) -> None:
    core = served_core()
    if core is not None:
        for child in main.children(recursive=True):
            _keep_off(child, core)
        main.cpu_affinity([core])


def _keep_off(process: psutil.Process, core: int | None) -> None:
    if core is not None:
        process.cpu_affinity(sorted(os.sched_getaffinity(0) - {core}))


class _Process:
    """A Python module that runs; what it complains of goes into a file."""

    def __init__(self, command: Sequence[str], errors: IO[bytes]) -> None:
        self._errors = errors
        self._popen = subprocess.Popen(
            command, cwd=ROOT, stdin=PIPE, stdout=PIPE, stderr=errors, start_new_session=True
        )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def wait_for(self, word: str, seconds: float) -> str:
        """What follows the word in the first line that begins with it. Raises `FanoutError`."""
        assert self._popen.stdout is not None
        timer = threading.Timer(seconds, self._popen.kill)
        timer.start()
        try:
            for line in self._popen.stdout:
                if line.decode().startswith(word):
                    return line.decode().removeprefix(word).strip()
        finally:
            timer.cancel()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace")
        raise FanoutError(f"{self._popen.args!r} did not start:\n{said[-SAID_CHARACTERS:]}")

    def finish(self) -> bytes:
        """Ends its input; the rest of its output."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._popen.stdin.close()
        return self._popen.stdout.read()

    def end(self) -> None:
        """Asks first."""
        self._popen.terminate()
        try:
            self._popen.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
        with self._popen:  # which closes what is open
            pass


@contextmanager
def _running(module: str, *arguments: str) -> Iterator[_Process]:
    with tempfile.TemporaryFile() as errors:
        process = _Process([sys.executable, "-m", module, *arguments], errors)
        try:
            yield process
        finally:
            process.end()
