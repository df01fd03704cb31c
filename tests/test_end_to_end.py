"""A really started service with the bundled model: every client gets its own pictures, and they are the right ones."""

import asyncio
import base64
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import aiohttp
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.web.server import Server

Picture = NDArray[np.int16]
"""[height, width, 3], 0..255."""

NUM_CLIENTS = 32
PROMPTS = ("a red house in a green field", "three trees in the snow at night", "a yellow boat at sunset")
NOISE = 0.1  # mean levels by which a picture from a batch may differ from a lone one: rounding, and JPEG's part


@dataclass(frozen=True)
class Seen:
    """What one client saw. Previews by completed steps."""

    previews: Mapping[int, Picture]
    final: Picture


@pytest.fixture(scope="module", params=["step", "call"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server("--batching", request.param, "--dtype", "float32", "--call-batch", "32", "--max-rows", "64") as server:
        yield server


async def watch(session: aiohttp.ClientSession, server: Server, seed: int) -> Seen:
    body = {
        "prompt": PROMPTS[seed % len(PROMPTS)],
        "num_inference_steps": 7,
        "width": 64,
        "height": 64,
        "seed": seed,
        "preview_every": 2,
        "preview_quality": 95,
        "image_format": "png",
    }
    async with session.post(f"{server.url}/stream", json=body) as response:
        assert response.status == 200
        text = (await response.read()).decode()
    lines = [line for line in text.splitlines() if not line.startswith(":")]  # a comment may come before any event
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line]
    assert all(event["seed"] == seed for event in events)
    assert "images" in events[-1], "the stream ended without the finished picture"
    return Seen({event["step"]: picture(event) for event in events[:-1]}, picture(events[-1]))


def picture(event: Mapping[str, Mapping[str, str]]) -> Picture:
    with Image.open(io.BytesIO(base64.b64decode(event["image"]["url"].partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB"), np.int16)


def difference(one: Picture, other: Picture) -> float:
    """Mean, in levels."""
    return float(np.abs(one - other).mean())


async def test_each_of_32_clients_gets_the_pictures_of_a_lone_run(server: Server) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        lone = [await watch(session, server, seed) for seed in range(NUM_CLIENTS)]
        together = await asyncio.gather(*(watch(session, server, seed) for seed in range(NUM_CLIENTS)))

    num_compared = 0
    for seed, seen in enumerate(together):
        assert {*lone[seed].previews, *seen.previews} <= {1, 3, 5}  # one that waits may give way to a newer one
        assert difference(seen.final, lone[seed].final) < NOISE
        for step in lone[seed].previews.keys() & seen.previews.keys():
            num_compared += 1
            assert difference(seen.previews[step], lone[seed].previews[step]) < NOISE
        for other in range(NUM_CLIENTS):
            if other != seed:
                assert difference(seen.final, lone[other].final) > 10 * NOISE
    assert num_compared >= NUM_CLIENTS, "too few previews to tell"


async def test_a_picture_shows_what_was_asked_for(server: Server) -> None:
    async with aiohttp.ClientSession() as session:
        field, night, sunset = [(await watch(session, server, seed)).final for seed in range(3)]
    assert night.mean() + 20 < min(field.mean(), sunset.mean())
