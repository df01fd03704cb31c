"""A worker process: `python -m scheduler.worker FD CONFIG`.

FD is an inherited socket to the service, CONFIG a `WorkerConfig` as JSON. The main thread looks after the socket; the
engine is loaded and run in one other thread, which does all of the model's work.
"""

import asyncio
import os
import queue
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future

import msgspec

from scheduler import wire
from scheduler.call_scheduler import CallScheduler
from scheduler.cost import CostModel
from scheduler.engine import Engine, LoadError, describe
from scheduler.loop import Inbox, Loop, Stop
from scheduler.messages import Add, Heartbeat, Loading, Ready, StartFailed, WorkerConfig
from scheduler.outbox import Outbox
from scheduler.request import Request
from scheduler.scheduler import Scheduler, StepScheduler

HEARTBEAT_SECONDS = 1.0
ENCODE_THREADS = 2
NICENESS = 5  # the service's event loop goes first where they share cores

LoadEngine = Callable[[WorkerConfig, Callable[[str], None]], Engine]


def load_engine(config: WorkerConfig, progress: Callable[[str], None]) -> Engine:
    """Raises LoadError. Imported here, because only a worker that paints should import torch."""
    if config.engine == "sdxl":
        from scheduler import sdxl

        return sdxl.load(config, progress)
    from scheduler import fake_engine

    return fake_engine.load(config, progress)


def make_scheduler(config: WorkerConfig, cost: CostModel) -> Scheduler:
    if config.batching == "call":
        return CallScheduler(cost, config.call_batch, config.call_wait_ms / 1000)
    return StepScheduler(cost)


async def serve(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    config: WorkerConfig,
    load: LoadEngine = load_engine,
) -> int:
    """Serves one service until it drains this worker or goes away; returns the exit code, 1 if the start failed.

    When the service goes away the engine's thread is told to stop, and not waited for.
    """
    return await _Worker(reader, writer, config, load).serve()


class _Worker:
    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, config: WorkerConfig, load: LoadEngine
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._config = config
        self._load = load
        self._inbox: Inbox = queue.SimpleQueue()
        self._outbox = Outbox(writer, ENCODE_THREADS)
        self._loop: Loop | None = None

    async def serve(self) -> int:
        receiving, sending, beating = (
            asyncio.create_task(work) for work in (self._receive(), self._outbox.send(), self._beat())
        )
        painting = asyncio.wrap_future(_run_in_thread(self._paint, "engine"))
        try:
            await asyncio.wait((receiving, sending, painting), return_when=asyncio.FIRST_COMPLETED)
            if not painting.done():  # the service is gone, unless something went wrong here
                await (receiving if receiving.done() else sending)
                return 0
            beating.cancel()
            self._outbox.close()
            await sending
            return painting.result()
        finally:
            self._inbox.put(Stop())
            for task in (receiving, sending, beating):
                task.cancel()
            self._writer.close()

    def _paint(self) -> int:
        """The engine's thread."""
        emit = self._outbox.emit
        try:
            engine = self._load(self._config, lambda message: emit([Loading(message)]))
        except LoadError as error:
            emit([StartFailed(str(error))])
            return 1
        except Exception as error:  # noqa: BLE001 - whatever it is, the service should tell people
            traceback.print_exc()
            emit([StartFailed(describe(error))])
            return 1
        self._loop = Loop(engine, make_scheduler(self._config, CostModel(engine.info)), self._inbox, emit)
        emit([Ready(engine.info)])
        self._loop.run()
        return 0

    async def _receive(self) -> None:
        while (command := await wire.read(self._reader, wire.COMMANDS)) is not None:
            self._inbox.put(Request(command.request_id, command.params) if isinstance(command, Add) else command)

    async def _beat(self) -> None:
        while True:
            loop = self._loop
            self._outbox.emit([Heartbeat(loop.step_counter, loop.num_running) if loop else Heartbeat(0, 0)])
            await asyncio.sleep(HEARTBEAT_SECONDS)


def _run_in_thread(work: Callable[[], int], name: str) -> Future[int]:
    """Like an executor, but with a daemon thread: nobody has to wait for it in order to exit."""
    future: Future[int] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - whoever holds the future raises it
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


async def _serve_and_exit(fd: int, config: WorkerConfig) -> None:
    """Ends the process without ceremony: the engine may be in mid-step, and must not hold its device any longer."""
    code = 1
    try:
        reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=fd))
        code = await serve(reader, writer, config)
    except Exception:  # noqa: BLE001 - its last line goes into the service's log
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    # Ctrl-C reaches the whole process group. The service decides what happens then, and this process obeys it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(NICENESS)
    fd, config = sys.argv[1:]
    asyncio.run(_serve_and_exit(int(fd), msgspec.json.decode(config, type=WorkerConfig)))


if __name__ == "__main__":
    main()
