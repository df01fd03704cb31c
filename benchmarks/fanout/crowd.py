"""Generations that are under way in this process, beside which others are admitted."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence

import msgspec

from benchmarks.fanout.replay import model_info
from scheduler.bell import Bell
from scheduler.client import Client
from scheduler.link import Link
from scheduler.messages import Abort, Add, Cancelled, Command, Ready, Report, Started, WorkerConfig
from scheduler.request import GenerateParams
from service.generation import Generation
from service.generations import Generations
from service.metrics import Metrics
from service.settings import ServeSettings, load_settings

SIDES = (128, 192, 256, 320, 384, 512)
ROOM = "1e12"  # whoever comes is admitted


class Answers(Link):
    """A worker in this process: it starts requests as long as there is room in a batch, and paints none."""

    def __init__(self, max_rows: int) -> None:
        super().__init__()
        info = msgspec.structs.replace(model_info(WorkerConfig(model="")), max_rows=max_rows)
        self._answers: list[Report] = [Ready(info)]
        self._come = Bell()
        self._room = max_rows
        self._rows: dict[str, int] = {}  # of requests that have started

    async def receive(self) -> Sequence[Report]:
        while not self._answers:
            await self._come.wait()
        answers, self._answers = self._answers, []
        return answers

    def send(self, command: Command) -> None:
        match command:
            case Add(request_id, params) if params.num_rows <= self._room:
                self._rows[request_id] = params.num_rows
                self._room -= params.num_rows
                self._answer(Started(request_id))
            case Abort(request_id):
                self._room += self._rows.pop(request_id, 0)
                self._answer(Cancelled(request_id))

    def close(self) -> None:
        pass

    def _answer(self, report: Report) -> None:
        self._answers.append(report)
        self._come.ring()


class Crowd:
    """A service's generations, in several sizes by turns; a batch of its worker has `max_rows` UNet rows."""

    def __init__(self, max_rows: int) -> None:
        self._client = Client(self._take_in)
        self._ready = asyncio.Event()
        self._link = Answers(max_rows)
        self._params = itertools.cycle([_params(side) for side in SIDES])
        self.generations = Generations(self._client, load_settings(ServeSettings, {"max_queue_cost": ROOM}), Metrics())

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        attached = asyncio.create_task(self._client.attach("worker-0", self._link))
        await self._ready.wait()
        yield
        await self.generations.abort()
        attached.cancel()

    def admit(self) -> Generation:
        return self.generations.admit([next(self._params)], grace=None)

    async def cancel(self, generation: Generation) -> None:
        """Returns when it is over."""
        with self.generations.watch([generation]) as mailbox:
            self.generations.cancel(generation, "api")
            async for _ in mailbox:
                pass

    def _take_in(self, worker: str, report: Report) -> None:
        self.generations.observe_report(worker, report)
        self._ready.set()


def _params(side: int) -> GenerateParams:
    return GenerateParams(prompt="a red boat", width=side, height=side, num_steps=20)
