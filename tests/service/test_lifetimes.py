"""Who ends when its client goes away: each row of the table of lifetimes.

The engine makes a step only when the test allows one, so that "at the next step" is a count and not a time.
"""

import asyncio
import json
from typing import Any

import msgspec
import pytest

from service.generation import Generation
from tests.service.harness import Service, body, eventually, next_event, running_service

STEPS = 8
REQUEST = body(num_inference_steps=STEPS, preview_every=1)
OPENAI = {"prompt": "a red boat", "size": "64x64", "num_inference_steps": STEPS}

POSTS = {
    "POST /stream": ("/stream", REQUEST),
    "POST /owner/alias/stream": ("/fal-ai/fast-sdxl/stream", REQUEST),
    "POST /": ("/", REQUEST),
    "POST /owner/alias": ("/fal-ai/fast-sdxl", REQUEST),
    "POST /v1/images/generations": ("/v1/images/generations", OPENAI),
    "POST /v1/images/generations, streaming": ("/v1/images/generations", OPENAI | {"stream": True}),
}

SOCKETS = {
    "WS /generate": ("/generate", json.dumps(REQUEST).encode(), False),
    "WS /realtime": ("/realtime", msgspec.msgpack.encode(REQUEST), True),
    "WS /owner/alias/realtime": ("/fal-ai/fast-sdxl/realtime", msgspec.msgpack.encode(REQUEST), True),
}

GO_ON = {
    "POST /v1/generations": ("/v1/generations", "id"),
    "POST /queue": ("/queue/fal-ai/fast-sdxl", "request_id"),
}


async def the_running_one(service: Service) -> Generation:
    """After its first step."""
    service.worker.allow()
    await eventually(lambda: service.metric("steps_total") == 1 and service.generations.under_way.running)
    (generation,) = service.generations.under_way.running.values()
    return generation


async def is_cancelled_at_the_next_step(service: Service, generation: Generation) -> None:
    """It has made one step, and its client is gone."""
    await eventually(lambda: generation.cancel_cause == "disconnect")
    service.worker.allow()
    await eventually(lambda: generation.status == "cancelled")
    await eventually(lambda: not service.worker.engine.known)
    assert service.metric("steps_total") <= 2


async def is_finished_without_a_client(service: Service, generation: Generation) -> None:
    service.worker.allow(STEPS)
    await eventually(lambda: generation.status == "succeeded")
    assert service.metric("steps_total") == STEPS


@pytest.mark.parametrize(("path", "asked"), POSTS.values(), ids=POSTS.keys())
async def test_a_post_is_cancelled_at_the_next_step(gated: Service, path: str, asked: dict[str, Any]) -> None:
    client = asyncio.create_task(gated.http.post(path, json=asked, headers={"Connection": "close"}))
    generation = await the_running_one(gated)
    if client.done():
        (await client).close()
    client.cancel()
    await is_cancelled_at_the_next_step(gated, generation)


@pytest.mark.parametrize(("path", "message", "is_binary"), SOCKETS.values(), ids=SOCKETS.keys())
@pytest.mark.parametrize("is_polite", [True, False], ids=["closed", "torn off"])
async def test_a_websockets_is_cancelled_at_the_next_step(
    gated: Service, path: str, message: bytes, is_binary: bool, is_polite: bool
) -> None:
    socket = await gated.http.ws_connect(path)
    await (socket.send_bytes(message) if is_binary else socket.send_str(message.decode()))
    generation = await the_running_one(gated)
    if is_polite:
        await socket.close()
    else:
        socket._response.close()
    await is_cancelled_at_the_next_step(gated, generation)


async def test_get_generate_goes_on_within_the_grace() -> None:
    async with running_service(gated=True, grace=3600) as service:
        answer = await service.http.get("/generate", params={name: str(value) for name, value in REQUEST.items()})
        generation = await the_running_one(service)
        await next_event(answer)
        answer.close()
        await eventually(lambda: not generation.watchers)
        await is_finished_without_a_client(service, generation)


async def test_get_generate_is_cancelled_after_the_grace() -> None:
    async with running_service(gated=True, grace=0.01) as service:
        answer = await service.http.get("/generate", params={name: str(value) for name, value in REQUEST.items()})
        generation = await the_running_one(service)
        await next_event(answer)
        answer.close()
        await is_cancelled_at_the_next_step(service, generation)


@pytest.mark.parametrize(("path", "name"), GO_ON.values(), ids=GO_ON.keys())
async def test_what_was_only_started_goes_on(gated: Service, path: str, name: str) -> None:
    started = await (await gated.http.post(path, json=REQUEST)).json()
    watcher = await gated.http.get(f"/v1/generations/{started[name]}/events")
    generation = await the_running_one(gated)
    watcher.close()
    await eventually(lambda: not generation.watchers)
    await is_finished_without_a_client(gated, generation)


CANCELS = {
    "DELETE": ("/v1/generations", "DELETE", "/v1/generations/{id}"),
    "cancel": ("/queue/fal-ai/fast-sdxl", "PUT", "/queue/fal-ai/fast-sdxl/requests/{request_id}/cancel"),
}


@pytest.mark.parametrize(("path", "method", "own"), CANCELS.values(), ids=CANCELS.keys())
async def test_and_ends_when_it_is_cancelled(gated: Service, path: str, method: str, own: str) -> None:
    started = await (await gated.http.post(path, json=REQUEST)).json()
    generation = await the_running_one(gated)
    assert (await gated.http.request(method, own.format(**started))).status in (200, 202)
    gated.worker.allow()
    await eventually(lambda: generation.status == "cancelled")
    assert generation.cancel_cause == "api"
    assert gated.metric("steps_total") <= 2


@pytest.mark.parametrize(("path", "name"), GO_ON.values(), ids=GO_ON.keys())
async def test_or_at_its_deadline(path: str, name: str) -> None:
    async with running_service(gated=True) as service:
        started = await (await service.http.post(path, json=REQUEST | {"deadline_ms": 1})).json()
        generation = service.generation(started[name])
        await service.step_until(lambda: generation.is_over)
        assert generation.error is not None
        assert (generation.status, generation.error.code) == ("failed", "deadline")


@pytest.mark.parametrize("settings", [{"keep_minutes": 0}, {"keep_mib": 0}], ids=["for no time", "in no memory"])
async def test_a_finished_one_that_is_not_kept_is_gone(settings: dict[str, Any]) -> None:
    async with running_service(**settings) as service:
        one = (await service.create())["id"]
        await eventually(lambda: service.generations.get(one) is None)
        for path in ("", "/images/0", "/events"):
            assert (await service.http.get(f"/v1/generations/{one}{path}")).status == 404
        seen = {"Last-Event-ID": f"{one}.1"}
        assert (await service.http.get(f"/v1/generations/{one}/events", headers=seen)).status == 204


async def test_a_finished_one_that_is_kept_is_there(service: Service) -> None:
    one = (await service.create())["id"]
    await eventually(lambda: service.generation(one).is_over)
    for path in ("", "/images/0", "/events"):
        assert (await service.http.get(f"/v1/generations/{one}{path}")).status == 200
