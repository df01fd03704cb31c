"""Workers on this machine: spawned, watched, and started again when they die."""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

import scheduler
from scheduler.client import Client
from scheduler.link import connect
from scheduler.messages import Loading, Ready, Report, StartFailed, WorkerConfig
from scheduler.placement.variables import PASSIVE_THREADS, SHAPE_CACHES
from scheduler.wire import WireError

logger = logging.getLogger(__name__)

EXIT_SECONDS = 5.0  # what a worker gets to exit by itself once its connection has ended


class StartError(Exception):
    """A worker cannot be started. The message is for people."""


class Backoff:
    """How long to wait before the next start, in seconds: doubling, and short again after a healthy run."""

    def __init__(self, shortest: float = 0.5, longest: float = 30.0, healthy: float = 60.0) -> None:
        self._shortest = shortest
        self._longest = longest
        self._healthy = healthy
        self._next = shortest

    def delay(self, ran_for: float) -> float:
        delay = self._shortest if ran_for >= self._healthy else self._next
        self._next = min(2 * delay, self._longest)
        return delay


class LocalWorkers:
    """`count` worker processes, each running `module`, attached to `client`.

    `on_progress` gets lines for people: what a start is doing, and why a worker is started again. `on_restart` gets the
    worker's name each time it is started again.
    """

    def __init__(
        self,
        config: WorkerConfig,
        count: int,
        client: Client,
        on_progress: Callable[[str], None] = lambda _: None,
        on_restart: Callable[[str], None] = lambda _: None,
        module: str = "scheduler.worker",
    ) -> None:
        self._config = config
        self._count = count
        self._client = client
        self._on_progress = on_progress
        self._on_restart = on_restart
        self._module = module
        self._workers: list[_LocalWorker] = []
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def pids(self) -> list[int]:
        """Of the processes that run now."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    async def start(self) -> None:
        """Begins to start the workers; `ready` says how that went."""
        self._workers = [
            _LocalWorker(
                f"worker-{index}",
                msgspec.structs.replace(self._config, index=index),
                self._client,
                self._progress,
                self._on_restart,
                self._module,
            )
            for index in range(self._count)
        ]
        self._tasks = [asyncio.create_task(worker.supervise()) for worker in self._workers]

    async def ready(self) -> None:
        """Returns when every worker has been ready once. Raises StartError when a first start fails."""
        await asyncio.gather(*(worker.first_start for worker in self._workers))

    async def stop(self, timeout: float) -> None:  # noqa: ASYNC109 - what is left after it is killed
        """Lets the workers finish what they have, for at most `timeout` seconds; then kills them."""
        for worker in self._workers:
            worker.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)
        for worker in self._workers:
            worker.kill()
        await asyncio.gather(*self._tasks)

    def _progress(self, name: str, message: str) -> None:
        self._on_progress(message if self._count == 1 else f"{name}: {message}")


class _LocalWorker:
    def __init__(
        self,
        name: str,
        config: WorkerConfig,
        client: Client,
        on_progress: Callable[[str, str], None],
        on_restart: Callable[[str], None],
        module: str,
    ) -> None:
        self.first_start: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._name = name
        self._config = config
        self._client = client
        self._on_progress = on_progress
        self._on_restart = on_restart
        self._module = module
        self._process: Process | None = None
        self._start_failure: str | None = None
        self._is_ready = False
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def supervise(self) -> None:
        backoff = Backoff()
        while True:
            started_at = time.monotonic()
            ending = await self._run_process()
            if not self.first_start.done():
                self.first_start.set_exception(StartError(ending))
                self.first_start.exception()  # seen, whether or not anyone waits for `ready`
                return
            if self._stopping.is_set():
                return
            delay = backoff.delay(time.monotonic() - started_at)
            self._on_progress(self._name, f"the worker stopped: {ending}; starting it again in {delay:g} s")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
                return
            self._on_restart(self._name)

    def stop(self) -> None:
        self._stopping.set()
        if self._is_ready:
            self._client.drain(self._name)
        else:
            self.kill()

    def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def _run_process(self) -> str:
        """Runs one process from its start to its end; returns why it ended, for people."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = self._process = await _spawn(self._module, self._config, theirs)
        except (OSError, ValueError) as error:  # no process to be had, or a path that is no text
            ours.close()
            return f"it could not be started: {error}"
        if self._stopping.is_set():
            self.kill()
        try:
            return await self._attend(process, ours)
        finally:
            self.kill()
            self._process = None

    async def _attend(self, process: Process, connection: socket.socket) -> str:
        self._start_failure = None
        last_line = asyncio.create_task(_last_line(process))
        try:
            await self._client.attach(self._name, await connect(connection), self._watch)
        except WireError as error:
            return str(error)
        except Exception as error:  # whoever was told of a report failed: this worker is started again all the same
            logger.exception("a report of %s could not be taken in", self._name)
            return f"{type(error).__name__}: {error}"
        finally:
            self._is_ready = False
        code = await _exit_code(process)
        return self._start_failure or _describe_exit(code, await last_line)

    def _watch(self, report: Report) -> None:
        match report:
            case Loading(message):
                self._on_progress(self._name, message)
            case StartFailed(message):
                self._start_failure = message
            case Ready():
                self._is_ready = True
                if not self.first_start.done():
                    self.first_start.set_result(None)


async def _spawn(module: str, config: WorkerConfig, connection: socket.socket) -> Process:
    # -P: a folder named `scheduler` where the service was started must not stand in for this package.
    command = (sys.executable, "-P", "-m", module, str(connection.fileno()), msgspec.json.encode(config))
    return await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE, env=_environment(config), pass_fds=(connection.fileno(),)
    )


def _environment(config: WorkerConfig) -> dict[str, str]:
    """What must be set before the worker imports anything."""
    package_root = str(Path(scheduler.__file__).resolve().parent.parent)
    python_path = os.environ.get("PYTHONPATH")
    changes = {
        "PYTHONPATH": os.pathsep.join([package_root, python_path] if python_path else [package_root]),
        **PASSIVE_THREADS,
    }
    if config.threads:
        changes["OMP_NUM_THREADS"] = str(config.threads)
    return {**SHAPE_CACHES, **os.environ, **changes}


async def _last_line(process: Process) -> str:
    """Reads all that the process says on stderr, so that it never blocks, and keeps the last line."""
    assert process.stderr is not None
    tail = b""
    while chunk := await process.stderr.read(65536):
        tail = (tail + chunk)[-1000:]
    lines = tail.decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


async def _exit_code(process: Process) -> int:
    try:
        return await asyncio.wait_for(process.wait(), EXIT_SECONDS)
    except TimeoutError:
        process.kill()
        return await process.wait()


def _describe_exit(code: int, last_line: str) -> str:
    cause = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return f"{cause} ({last_line})" if last_line else cause
