"""`WS /realtime`, message by message."""

from typing import Any

import aiohttp
import msgspec
import pytest

from scheduler.fake_engine import FAILING_PROMPT
from tests.service.harness import Service, body, image_bytes, params, preview_bytes

Socket = aiohttp.ClientWebSocketResponse


def pack(**fields: object) -> bytes:
    return msgspec.msgpack.encode(body(**fields))


def fal_image(data: bytes) -> dict[str, object]:
    return {"content": data, "content_type": "image/jpeg", "width": 64, "height": 64}


async def result(socket: Socket) -> dict[str, Any]:
    """The finished pictures of the request that is told of."""
    while True:
        message: dict[str, Any] = msgspec.msgpack.decode(await socket.receive_bytes(timeout=10))
        if message["step"] == message["total_steps"]:
            return message


@pytest.mark.parametrize("path", ["/realtime", "/local/postcard/realtime?fal_jwt_token=none&max_buffering=5"])
async def test_the_bytes_of_a_conversation(gated: Service, path: str) -> None:
    async with gated.http.ws_connect(path) as socket:
        await socket.send_bytes(pack(request_id="mine"))
        gated.worker.allow(1)
        received = [await socket.receive_bytes(timeout=10)]  # read before the next, so that none is coalesced
        gated.worker.allow(2)
        received.append(await socket.receive_bytes(timeout=10))
        gated.worker.allow(1)
        final = msgspec.msgpack.decode(await socket.receive_bytes(timeout=10))
    previews = [
        {
            "images": [fal_image(preview_bytes(params(), step))],
            "request_id": "mine",
            "step": step,
            "total_steps": 4,
            "seed": 1,
        }
        for step in (1, 3)
    ]
    assert received == [msgspec.msgpack.encode(preview) for preview in previews]
    assert all(seconds >= 0 for seconds in final.pop("timings").values())
    assert final == {
        "images": [fal_image(image_bytes(params()))],
        "request_id": "mine",
        "step": 4,
        "total_steps": 4,
        "seed": 1,
    }


async def test_a_request_without_a_name_is_told_by_its_id(service: Service) -> None:
    async with service.http.ws_connect("/realtime") as socket:
        await socket.send_bytes(pack())
        assert service.generation((await result(socket))["request_id"]).status == "succeeded"


async def test_requests_of_one_connection_run_beside_each_other(gated: Service) -> None:
    async with gated.http.ws_connect("/realtime") as socket:
        for seed in (1, 2, 3):
            await socket.send_bytes(pack(seed=seed, preview_every=0))
        await gated.step_until(lambda: gated.metric("images_total") == 3)
        seen = {(await result(socket))["images"][0]["content"] for _ in range(3)}
    assert seen == {image_bytes(params(seed=seed)) for seed in (1, 2, 3)}
    assert gated.metric("steps_total") < 12


async def test_many_pictures_of_one_request(service: Service) -> None:
    async with service.http.ws_connect("/realtime") as socket:
        await socket.send_bytes(pack(num_images=2))
        message = msgspec.msgpack.decode(await socket.receive_bytes(timeout=10))
        while message["step"] < 4:
            assert message["image_index"] in (0, 1)
            message = msgspec.msgpack.decode(await socket.receive_bytes(timeout=10))
        contents = [image["content"] for image in message["images"]]
    assert contents == [image_bytes(params(seed=1)), image_bytes(params(seed=2))]


async def test_a_request_may_come_as_json(service: Service) -> None:
    async with service.http.ws_connect("/realtime") as socket:
        await socket.send_json(body())
        assert (await result(socket))["seed"] == 1


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (b"\xc1", '{"type":"x-fal-error","error":"validation","reason":"must be valid MessagePack"}'),
        (b"", '{"type":"x-fal-error","error":"validation","reason":"must be valid MessagePack"}'),
        (b"\x91" * 60_000, '{"type":"x-fal-error","error":"validation","reason":"must be valid MessagePack"}'),
        (b"\x07", '{"type":"x-fal-error","error":"validation","reason":"must be a JSON object"}'),
        (
            pack(width=65, request_id="mine"),
            '{"type":"x-fal-error","error":"validation","reason":"width: must be a multiple of 8","request_id":"mine"}',
        ),
        (
            pack(prompt=FAILING_PROMPT, request_id="mine"),
            '{"type":"x-fal-error","error":"engine_error",'
            '"reason":"the fake engine was asked to fail this request","request_id":"mine"}',
        ),
    ],
)
async def test_errors_are_text_and_the_connection_lives_on(service: Service, frame: bytes, error: str) -> None:
    async with service.http.ws_connect("/realtime") as socket:
        await socket.send_bytes(frame)
        assert await socket.receive_str(timeout=10) == error
        await socket.send_bytes(pack())
        assert (await result(socket))["seed"] == 1


@pytest.mark.parametrize("value", [msgspec.msgpack.Ext(1, b"x"), b"bytes", {1: 2}, float("nan"), 2**63])
async def test_what_json_cannot_hold_is_refused(service: Service, value: object) -> None:
    async with service.http.ws_connect("/realtime") as socket:
        await socket.send_bytes(msgspec.msgpack.encode({**body(), "guidance_scale": value}))
        assert '"x-fal-error"' in await socket.receive_str(timeout=10)
