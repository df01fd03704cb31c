"""`WS /generate`, message by message."""

import base64
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from scheduler.fake_engine import FAILING_PROMPT
from tests.service.harness import Service, body, image_bytes, params, preview_bytes

Socket = aiohttp.ClientWebSocketResponse


async def texts(socket: Socket, count: int) -> list[str]:
    return [await socket.receive_str(timeout=10) for _ in range(count)]


def compact(data: object) -> str:
    return json.dumps(data, separators=(",", ":"))


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ({}, bytes.hex),
        ({"encoding": "hex"}, bytes.hex),
        ({"encoding": "base64"}, lambda data: base64.b64encode(data).decode()),
        ({"encoding": "url"}, lambda data: "data:image/jpeg;base64," + base64.b64encode(data).decode()),
    ],
)
async def test_the_bytes_of_a_conversation(
    gated: Service, encoding: dict[str, str], encode: Callable[[bytes], str]
) -> None:
    async with gated.http.ws_connect("/generate") as socket:
        await socket.send_json(body(**encoding))
        gated.worker.allow(1)
        received = await texts(socket, 1)  # read before the next, so that none is coalesced
        gated.worker.allow(2)
        received += await texts(socket, 1)
        gated.worker.allow(1)
        received += await texts(socket, 2)
    assert received == [
        compact({"image": encode(preview_bytes(params(), 1)), "step": 1, "total_steps": 4}),
        compact({"image": encode(preview_bytes(params(), 3)), "step": 3, "total_steps": 4}),
        compact({"image": encode(image_bytes(params())), "step": 4, "total_steps": 4}),
        '{"done":true}',
    ]


async def until_done(socket: Socket) -> list[dict[str, Any]]:
    messages = [await socket.receive_json(timeout=10)]
    while "image" in messages[-1]:
        messages.append(await socket.receive_json(timeout=10))
    return messages


async def test_more_requests_may_follow(service: Service) -> None:
    async with service.http.ws_connect("/generate") as socket:
        for seed in (1, 2):
            await socket.send_json(body(seed=seed))
            *_, final, done = await until_done(socket)
            assert final["image"] == image_bytes(params(seed=seed)).hex()
            assert done == {"done": True}


async def test_many_pictures_have_an_index(service: Service) -> None:
    async with service.http.ws_connect("/generate") as socket:
        await socket.send_json(body(num_images=2, preview_every=0))
        first, second, done = await until_done(socket)
    assert (first["image_index"], second["image_index"]) == (0, 1)
    assert second["image"] == image_bytes(params(seed=2)).hex()
    assert done == {"done": True}


async def test_a_name_comes_back_with_every_message(service: Service) -> None:
    async with service.http.ws_connect("/generate") as socket:
        await socket.send_json(body(request_id="mine"))
        assert {message["request_id"] for message in await until_done(socket)} == {"mine"}
        await socket.send_json(body(request_id="wrong", width=65))
        assert (await socket.receive_json(timeout=10))["request_id"] == "wrong"


async def test_a_failure_does_not_end_as_a_success_does(service: Service) -> None:
    async with service.http.ws_connect("/generate") as socket:
        await socket.send_json(body(prompt=FAILING_PROMPT))
        message = "the fake engine was asked to fail this request"
        error = {"message": message, "type": "server_error", "param": None, "code": "engine_error"}
        assert await texts(socket, 1) == [compact({"error": error, "detail": message})]
        await socket.send_json(body())
        assert (await until_done(socket))[-1] == {"done": True}


@pytest.mark.parametrize("frame", ["nonsense", "", "[" * 60_000, "9" * 60_000])
async def test_a_frame_that_is_no_json(service: Service, frame: str) -> None:
    async with service.http.ws_connect("/generate") as socket:
        await socket.send_str(frame)
        answer = await socket.receive_json(timeout=10)
        assert answer["detail"] in ("must be valid JSON", "must be a JSON object")
        await socket.send_json(body())
        assert (await until_done(socket))[-1] == {"done": True}


async def test_a_binary_frame(service: Service) -> None:
    async with service.http.ws_connect("/generate") as socket:
        await socket.send_bytes(b"{}")
        assert (await socket.receive_json(timeout=10))["detail"] == "must be valid JSON in a text frame"


async def test_an_event_source_at_the_same_address_is_none(service: Service) -> None:
    answer = await service.http.get("/generate", params={"prompt": "a boat", "num_inference_steps": "1"})
    assert answer.content_type == "text/event-stream"
    await answer.read()
