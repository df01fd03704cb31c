"""A stand-in for a worker that costs next to nothing: `python -m benchmarks.fanout.replay FD CONFIG`.

It speaks a worker's protocol to a real service. Every request starts at once and gets a preview of as many bytes as
`CONFIG.model` says every `CONFIG.fake_step_seconds`, until it is aborted; with 0 bytes it gets none.
"""

import asyncio
import itertools
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import uvloop

from benchmarks.fanout.stamps import Stamp, filling, stamped
from benchmarks.fanout.wheel import Wheel
from scheduler import wire
from scheduler.messages import (
    Abort,
    Add,
    Cancelled,
    Drain,
    Heartbeat,
    ModelInfo,
    Preview,
    Ready,
    Started,
    StepTime,
    WorkerConfig,
)
from scheduler.request import GenerateParams

HEARTBEAT_SECONDS = 1.0
MAX_ROWS = 1 << 14  # everybody runs: more than ten thousand streams cannot be held anyway


@dataclass(frozen=True, eq=False)
class Run:
    """A request under way; `numbers` counts its previews from 1."""

    id: str
    params: GenerateParams
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def preview(self, filling: bytes, due: float) -> Preview:
        params, number = self.params, next(self.numbers)
        step = min(number, params.num_steps - 1)  # it never comes to its end
        data = stamped(filling, Stamp(due, number))
        return Preview(self.id, step, params.num_steps, params.width, params.height, "image/jpeg", data)


class Replay:
    """One connection to a service."""

    def __init__(self, writer: asyncio.StreamWriter, config: WorkerConfig) -> None:
        self._writer = writer
        self._runs: dict[str, Run] = {}
        self._wheel: Wheel[Run] = Wheel(config.fake_step_seconds)
        self._filling = filling(int(config.model))
        self._info = model_info(config)

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Until the service drains it or goes away."""
        self._send(Ready(self._info))
        tasks = [asyncio.create_task(self._beat()), asyncio.create_task(self._wheel.run(self._send_previews))]
        while (command := await wire.read(reader, wire.COMMANDS)) is not None and not isinstance(command, Drain):
            self._obey(command)
        for task in tasks:
            task.cancel()

    def _obey(self, command: Add | Abort) -> None:
        if isinstance(command, Add):
            run = self._runs[command.request_id] = Run(command.request_id, command.params)
            self._send(Started(run.id))
            if self._filling:
                self._wheel.add(run)
        elif (aborted := self._runs.pop(command.request_id, None)) is not None:
            self._wheel.discard(aborted)
            self._send(Cancelled(aborted.id))

    async def _send_previews(self, runs: Sequence[Run], due: float) -> None:
        for run in runs:
            self._send(run.preview(self._filling, due))
            await self._writer.drain()

    async def _beat(self) -> None:
        while True:
            self._send(Heartbeat(0, len(self._runs)))
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def _send(self, report: Ready | Started | Preview | Cancelled | Heartbeat) -> None:
        self._writer.write(wire.encode(report))


def model_info(config: WorkerConfig) -> ModelInfo:
    step_times = tuple(StepTime(256 * 256, rows, 1e-4) for rows in (1, MAX_ROWS))
    return ModelInfo(
        name="replay",
        default_width=256,
        default_height=256,
        size_multiple=8,
        min_size=64,
        max_size=1024,
        device="none",
        dtype="none",
        batching=config.batching,
        max_rows=MAX_ROWS,
        max_step_seconds=config.max_step_seconds,
        step_times=step_times,
        sampler=None,
        samplers=(),
    )


async def serve(connection: socket.socket, config: WorkerConfig) -> None:
    reader, writer = await asyncio.open_connection(sock=connection)
    await Replay(writer, config).serve(reader)
    writer.close()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    fd, config = sys.argv[1:]
    uvloop.run(serve(socket.socket(fileno=int(fd)), msgspec.json.decode(config, type=WorkerConfig)))
    os._exit(0)


if __name__ == "__main__":
    main()
