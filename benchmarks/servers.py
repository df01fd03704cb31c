"""Servers under test: started as processes of their own, waited for, watched and stopped."""

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.environment import ROOT

POLL_SECONDS = 0.05
MIB = 1 << 20


class ServerError(Exception):
    """A server did not start; the message ends with what it printed last."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. `start_seconds` is the time from its start to its first ready answer."""

    url: str
    process: psutil.Process
    start_seconds: float


@contextmanager
def running_server(command: Sequence[str], port: int, log: Path, *, timeout: float = 120) -> Iterator[Server]:
    """Runs `python -m <command>` until the block ends, its output in `log`. Waits `timeout` seconds for ready.

    Speeds that it measures of its model are kept beside the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    url = f"http://127.0.0.1:{port}"
    started = time.perf_counter()
    with log.open("wb") as output:
        env = {**os.environ, "LATENTCAST_CACHE_DIR": str(log.parent / "speeds")}
        process = subprocess.Popen([sys.executable, "-m", *command], cwd=ROOT, env=env, stdout=output, stderr=output)
    try:
        _wait_until_ready(process, url, log, timeout)
        yield Server(url, psutil.Process(process.pid), time.perf_counter() - started)
    finally:
        _stop(process)


def free_port() -> int:
    """A TCP port that nobody listens on just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class MemoryWatch:
    """The most memory that a server and its child processes were seen to hold, in MiB of resident memory each."""

    def __init__(self, server: Server, interval: float = 0.2) -> None:
        self.service_mib = 0.0
        self.worker_mib = 0.0
        self._process = server.process
        self._interval = interval
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        with suppress(psutil.NoSuchProcess):
            while True:
                self.service_mib = max(self.service_mib, self._process.memory_info().rss / MIB)
                workers = [child.memory_info().rss / MIB for child in self._process.children(recursive=True)]
                self.worker_mib = max([self.worker_mib, *workers])
                if self._ended.wait(self._interval):
                    return


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not _is_ready(url):
        if process.poll() is not None:
            raise ServerError(f"the server exited with {process.returncode} before it was ready:\n{_tail(log)}")
        if time.monotonic() > deadline:
            raise ServerError(f"the server was not ready after {timeout:.0f} s:\n{_tail(log)}")
        time.sleep(POLL_SECONDS)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Asks first; whoever still runs after 30 s is killed."""
    process.terminate()
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
