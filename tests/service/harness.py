"""A whole service in this process: the app on a real port, and a worker with the fake engine behind a socket pair."""

import asyncio
import io
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
import PIL.Image
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application, Request
from prometheus_client import CollectorRegistry

from scheduler import worker
from scheduler.client import Client
from scheduler.fake_engine import FakeEngine, colour_of, picture
from scheduler.images import encode_image, encode_preview
from scheduler.link import connect
from scheduler.messages import WorkerConfig
from scheduler.request import GenerateParams
from service.app import make_app
from service.generation import Generation, Image
from service.generations import Generations
from service.keys import GENERATIONS, METRICS
from service.server import HTTP_OPTIONS
from service.settings import ServeSettings
from tests.info import make_info

MODEL = make_info(name="fake", max_size=1024)


class FakeWorker:
    """A worker in this process. If it is gated, its engine makes a step only when it is allowed one."""

    def __init__(self, client: Client, *, gated: bool, name: str = "worker-0", max_rows: int = 32) -> None:
        self._config = WorkerConfig(model="fake", max_rows=max_rows)
        self._client = client
        self._name = name
        self._gate = threading.Semaphore(0)
        self._loading = threading.Event()
        self._tasks: list[asyncio.Task[Any]] = []
        self._writer: asyncio.StreamWriter | None = None
        self.engine = FakeEngine(self._config, self._gate if gated else None)

    def allow(self, steps: int = 1) -> None:
        self._gate.release(steps)

    async def start(self) -> None:
        """Connects, and stays in its loading until `load` is called."""
        ours, theirs = socket.socketpair()
        reader, self._writer = await asyncio.open_connection(sock=theirs)
        serving = worker.serve(reader, self._writer, self._config, self._load)
        attached = self._client.attach(self._name, await connect(ours))
        self._tasks = [asyncio.create_task(serving), asyncio.create_task(attached)]

    async def load(self) -> None:
        self._loading.set()
        await eventually(lambda: self._client.is_ready)

    async def die(self) -> None:
        """As a killed process does: the connection ends without a word."""
        assert self._writer is not None
        self._writer.close()
        self._loading.set()
        self.allow(1000)  # so that the engine's thread comes to its end
        await asyncio.gather(*self._tasks)

    def _load(self, config: WorkerConfig, progress: Callable[[str], None]) -> FakeEngine:  # noqa: ARG002
        self._loading.wait()
        return self.engine


@dataclass
class Service:
    """The service under test, and an HTTP client for it."""

    http: TestClient[Request, Application]
    worker: FakeWorker
    app: Application

    @property
    def generations(self) -> Generations:
        return self.app[GENERATIONS]

    @property
    def registry(self) -> CollectorRegistry:
        return self.app[METRICS].registry

    def metric(self, name: str, **labels: str) -> float:
        value = self.registry.get_sample_value(f"latentcast_{name}", labels)
        assert value is not None, name
        return value

    def generation(self, generation_id: str) -> Generation:
        generation = self.generations.get(generation_id)
        assert generation is not None
        return generation

    async def step_until(self, is_true: Callable[[], object]) -> None:
        """Lets a gated engine make one step after another."""
        while not is_true():
            await self._step(is_true)

    async def _step(self, is_over: Callable[[], object]) -> None:
        steps = self.metric("steps_total")
        self.worker.allow()
        await eventually(lambda: is_over() or self.metric("steps_total") > steps)

    async def create(self, **fields: object) -> dict[str, Any]:
        """`POST /v1/generations`; the record."""
        answer = await self.http.post("/v1/generations", json=body(**fields))
        assert answer.status == 202, await answer.text()
        record: dict[str, Any] = await answer.json()
        return record

    async def show(self, generation_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"/v1/generations/{generation_id}")
        assert answer.status == 200
        record: dict[str, Any] = await answer.json()
        return record


@asynccontextmanager
async def running_service(
    *, loaded: bool = True, gated: bool = False, max_rows: int = 32, **settings: Any
) -> AsyncIterator[Service]:
    """With its model loaded or still loading; `gated` and `max_rows` as of the worker."""
    client = Client()
    app = make_app(ServeSettings(**settings), client)
    worker = FakeWorker(client, gated=gated, max_rows=max_rows)
    server = TestServer(app)
    await server.start_server(**HTTP_OPTIONS)
    async with TestClient(server) as http:
        await worker.start()
        if loaded:
            await worker.load()
        try:
            yield Service(http, worker, app)
        finally:
            await worker.die()


def body(**fields: object) -> dict[str, object]:
    """A small request: four steps, a preview after the first and the third."""
    defaults = {
        "prompt": "a red boat",
        "width": 64,
        "height": 64,
        "num_inference_steps": 4,
        "preview_every": 2,
        "seed": 1,
    }
    return {**defaults, **fields}


def params(**fields: Any) -> GenerateParams:
    """What `body` is parsed into."""
    defaults = GenerateParams(prompt="a red boat", width=64, height=64, num_steps=4, preview_every=2, seed=1)
    return msgspec.structs.replace(defaults, **fields)


def make_generation(one: str, num_images: int = 1, **fields: Any) -> Generation:
    """One that nobody follows, each of whose images costs 8."""
    images = [Image(f"{one}/{index}", index, params(seed=1 + index, **fields), 8.0) for index in range(num_images)]
    return Generation(one, images, grace=None)


def preview_bytes(params: GenerateParams, step: int) -> bytes:
    return encode_preview(picture(params, step), params).data


def image_bytes(params: GenerateParams) -> bytes:
    return encode_image(picture(params, params.num_steps), params).data


def is_picture_of(seed: int, data: bytes) -> bool:
    """Whether the finished picture has the colour of the seed, as near as JPEG keeps it."""
    pixel = PIL.Image.open(io.BytesIO(data)).convert("RGB").getpixel((32, 32))
    assert isinstance(pixel, tuple)
    return all(abs(got - wanted) <= 4 for got, wanted in zip(pixel, colour_of(seed), strict=True))


async def eventually(is_true: Callable[[], object], seconds: float = 10.0) -> None:
    """Returns as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it never became true"
        await asyncio.sleep(0.001)


@dataclass
class SentEvent:
    """One block of an event stream, as a client reads it."""

    id: str | None
    name: str | None
    data: str

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = msgspec.json.decode(self.data)
        return value


def parse_events(stream: bytes) -> list[SentEvent]:
    """All blocks of a stream that has ended."""
    assert stream == b"" or stream.endswith(b"\n\n")
    return [parse_event(block) for block in stream.decode("ascii").split("\n\n") if block]


def parse_event(block: str) -> SentEvent:
    fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
    return SentEvent(fields.get("id"), fields.get("event"), fields["data"])


async def next_event(answer: aiohttp.ClientResponse) -> SentEvent:
    """Waits for the next block of an open stream."""
    block = await answer.content.readuntil(b"\n\n")
    assert block.endswith(b"\n\n"), "the stream has ended"
    return parse_event(block[:-2].decode("ascii"))
