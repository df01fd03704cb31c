"""The server to compare with speaks the service's wire format, and its threads do not mix up their pictures."""

import asyncio
import json
import os
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: its threads must not spin beside other programs

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from benchmarks.naive import Painter, load_painter, make_app
from benchmarks.sse import EventParser
from scheduler.messages import WorkerConfig
from tests.models import save_tiny_sdxl

# diffusers' samplers make arrays of tensors, whose way of doing so NumPy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Client = TestClient[web.Request, web.Application]


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> Painter:
    folder = save_tiny_sdxl(tmp_path_factory.mktemp("models") / "tiny-sdxl")
    return load_painter(WorkerConfig(model=str(folder), dtype="float32", device="cpu"))


@pytest.fixture
async def client(painter: Painter, aiohttp_client: AiohttpClient) -> Client:
    return await aiohttp_client(make_app(painter))


async def stream(client: Client, **body: Any) -> list[dict[str, Any]]:
    """The events of one request."""
    response = await client.post("/stream", json={"prompt": "a boat", "num_inference_steps": 3, **body})
    assert response.headers["Content-Type"] == "text/event-stream"
    return [json.loads(event) for event in EventParser().feed(await response.read())]


async def test_previews_then_the_image(client: Client, painter: Painter) -> None:
    events = await stream(client, preview_every=1, seed=7)
    assert [(event["step"], event["total_steps"], event["seed"]) for event in events] == [
        (1, 3, 7),
        (2, 3, 7),
        (3, 3, 7),
    ]
    image = events[-1]["image"]
    assert image["url"].startswith("data:image/jpeg;base64,/9j/")
    assert (image["width"], image["height"]) == (painter.default_size, painter.default_size)


async def test_no_thread_gets_the_picture_of_another(client: Client) -> None:
    prompts = ["a boat", "a much longer prompt with a red house in a green field", "", "a tree"] * 2
    bodies = [{"prompt": prompt, "seed": seed} for seed, prompt in enumerate(prompts)]
    alone = [await stream(client, **body) for body in bodies]
    together = await asyncio.gather(*(stream(client, **body) for body in bodies))
    assert together == alone
    assert len({events[-1]["image"]["url"] for events in alone}) == len(bodies)


async def test_a_request_that_fails_says_so(client: Client) -> None:
    events = await stream(client, width=63)
    assert events[-1]["error"]["code"] == "engine_error"
    assert "divisible by 8" in events[-1]["detail"]


async def test_it_tells_when_it_is_ready(client: Client) -> None:
    assert (await client.get("/readyz")).status == 200
