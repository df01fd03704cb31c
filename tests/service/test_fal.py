"""fal's wire format, byte by byte."""

import asyncio
import base64
import functools
import json

import aiohttp
import pytest

from scheduler.fake_engine import FAILING_PROMPT
from tests.service.harness import (
    Service,
    body,
    eventually,
    image_bytes,
    next_event,
    params,
    parse_events,
    preview_bytes,
    running_service,
)


def fal_image(data: bytes) -> dict[str, object]:
    url = "data:image/jpeg;base64," + base64.b64encode(data).decode()
    return {"url": url, "content_type": "image/jpeg", "width": 64, "height": 64}


def block(data: object) -> bytes:
    return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"


async def test_a_stream_is_previews_then_the_picture_and_nothing_else(gated: Service) -> None:
    answer = await gated.http.post("/stream", json=body())
    received = b""
    for step in (1, 2, 3, 4):
        gated.worker.allow()
        if step in (1, 3):  # a preview is read before the next step, so that none is coalesced
            received += await answer.content.readuntil(b"\n\n")
    received += await answer.content.read()

    progress = {"total_steps": 4, "seed": 1}
    final = fal_image(image_bytes(params()))
    assert received == b"".join(
        [
            block({"image": fal_image(preview_bytes(params(), 1)), "step": 1, **progress}),
            block({"image": fal_image(preview_bytes(params(), 3)), "step": 3, **progress}),
            block({"image": final, "images": [final], "step": 4, **progress}),
        ]
    )


async def test_with_several_images_each_event_names_its_own(gated: Service) -> None:
    answer = await gated.http.post("/stream", json=body(num_images=2))
    received = b""
    for step in (1, 2, 3, 4):
        gated.worker.allow()
        for _ in range(2 if step in (1, 3) else 0):
            received += await answer.content.readuntil(b"\n\n")
    received += await answer.content.read()

    def preview(step: int, index: int) -> bytes:
        image = fal_image(preview_bytes(params(seed=1 + index), step))
        return block({"image": image, "step": step, "total_steps": 4, "seed": 1, "image_index": index})

    images = [fal_image(image_bytes(params(seed=seed))) for seed in (1, 2)]
    final = {"image": images[0], "images": images, "step": 4, "total_steps": 4, "seed": 1, "image_index": 0}
    previews = [preview(step, index) for step in (1, 3) for index in (0, 1)]
    assert sorted(received.split(b"\n\n")) == sorted((b"".join(previews) + block(final)).split(b"\n\n"))
    assert received.endswith(block(final))


async def test_the_headers_of_a_stream(service: Service) -> None:
    answer = await service.http.post("/stream", json=body())
    assert answer.status == 200
    headers = {name.lower(): value for name, value in answer.headers.items() if name not in ("Date", "Server")}
    request_id = headers.pop("x-fal-request-id")
    assert headers == {
        "x-request-id": request_id,
        "content-type": "text/event-stream",
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",
        "transfer-encoding": "chunked",
    }
    await answer.read()
    assert (await service.show(request_id))["status"] == "succeeded"


async def test_a_stream_is_the_same_whatever_the_client_accepts(service: Service) -> None:
    answer = await service.http.post("/stream", json=body(), headers={"Accept": "application/json"})
    assert answer.content_type == "text/event-stream"
    await answer.read()


@pytest.mark.parametrize("app", ["local/postcard", "fal-ai/fast-sdxl", "a.b/c_d"])
async def test_an_owner_and_an_app_may_have_any_names(service: Service, app: str) -> None:
    final = fal_image(image_bytes(params()))
    answer = await service.http.post(f"/{app}", json=body())
    assert (await answer.json())["images"] == [final]
    answer = await service.http.post(f"/{app}/stream", json=body())
    last = parse_events(await answer.read())[-1].json
    assert last == {"image": final, "images": [final], "step": 4, "total_steps": 4, "seed": 1}


async def test_a_random_seed_is_reported(service: Service) -> None:
    answer = await service.http.post("/stream", json=body(seed=None))
    seeds = {event.json["seed"] for event in parse_events(await answer.read())}
    assert len(seeds) == 1


async def test_a_failed_stream_tells_why_and_does_not_end_well(service: Service) -> None:
    answer = await service.http.post("/stream", json=body(prompt=FAILING_PROMPT))
    event = await next_event(answer)
    message = "the fake engine was asked to fail this request"
    error = {"message": message, "type": "server_error", "param": None, "code": "engine_error"}
    assert event.json == {"error": error, "detail": message}
    assert (event.id, event.name) == (None, None)
    with pytest.raises(aiohttp.ClientPayloadError):
        await answer.content.read()


async def test_a_stream_that_is_cancelled_elsewhere_does_not_end_well(gated: Service) -> None:
    answer = await gated.http.post("/stream", json=body())
    await gated.http.delete(f"/v1/generations/{answer.headers['x-request-id']}")
    gated.worker.allow()
    event = await next_event(answer)
    while "error" not in event.json:
        event = await next_event(answer)
    assert event.json["error"]["code"] == "cancelled"
    with pytest.raises(aiohttp.ClientPayloadError):
        await answer.content.read()


async def test_a_lost_worker_is_told(gated: Service) -> None:
    answer = await gated.http.post("/stream", json=body())
    await gated.worker.die()
    assert (await next_event(answer)).json["error"]["code"] == "worker_lost"
    with pytest.raises(aiohttp.ClientPayloadError):
        await answer.content.read()


async def test_a_client_that_goes_away_frees_its_row_within_a_step(gated: Service) -> None:
    answer = await gated.http.post("/stream", json=body(num_inference_steps=50))
    generation = gated.generation(answer.headers["x-request-id"])
    gated.worker.allow()
    await next_event(answer)
    answer.close()
    await eventually(lambda: generation.cancel_cause == "disconnect")
    gated.worker.allow()
    await eventually(lambda: generation.status == "cancelled")
    await eventually(lambda: not gated.worker.engine.known)
    assert gated.metric("steps_total") <= 2
    assert gated.metric("requests_cancelled_total", cause="disconnect", phase="running") == 1


async def test_run_answers_with_the_picture_and_makes_no_previews(service: Service) -> None:
    answer = await service.http.post("/", json=body())
    assert answer.status == 200
    assert answer.headers["X-Fal-Request-Id"] == answer.headers["x-request-id"]
    output = await answer.json()
    timings = output.pop("timings")
    final = fal_image(image_bytes(params()))
    assert output == {"image": final, "images": [final], "seed": 1}
    assert all(seconds >= 0 for seconds in timings.values())
    assert service.metric("previews_generated_total") == 0


async def test_a_run_of_several_images_answers_with_all_of_them(service: Service) -> None:
    answer = await service.http.post("/", json=body(num_images=3))
    output = await answer.json()
    images = [fal_image(image_bytes(params(seed=seed))) for seed in (1, 2, 3)]
    assert (output["image"], output["images"], output["seed"]) == (images[0], images, 1)


async def test_a_run_that_is_late_is_a_504(gated: Service) -> None:
    late = gated.http.post("/", json=body(deadline_ms=1))
    is_over = functools.partial(gated.metric, "requests_total", outcome="deadline")
    answer, _ = await asyncio.gather(late, gated.step_until(is_over))
    assert answer.status == 504
    assert (await answer.json())["error"]["code"] == "deadline"
    assert gated.metric("requests_total", outcome="error") == 0


async def test_a_failed_run_has_an_error_status(service: Service) -> None:
    answer = await service.http.post("/", json=body(prompt=FAILING_PROMPT))
    assert answer.status == 500
    assert (await answer.json())["error"]["code"] == "engine_error"


async def test_a_run_whose_worker_is_lost_may_be_tried_again(gated: Service) -> None:
    async def lose_worker() -> None:
        await eventually(lambda: gated.metric("requests_received_total", route="run") == 1)
        await gated.worker.die()

    answer, _ = await asyncio.gather(gated.http.post("/", json=body()), lose_worker())
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) >= 1


async def test_a_client_that_leaves_a_run_cancels_it(gated: Service) -> None:
    async def run() -> None:
        await gated.http.post("/", json=body(num_inference_steps=50))

    running = asyncio.create_task(run())
    await eventually(lambda: gated.metric("queue_wait_seconds_count") == 1)
    running.cancel()
    await gated.step_until(lambda: gated.metric("requests_cancelled_total", cause="disconnect", phase="running") == 1)


async def test_no_stream_starts_while_the_model_loads() -> None:
    async with running_service(loaded=False) as service:
        answer = await service.http.post("/stream", json=body())
        assert answer.status == 503
        assert answer.headers["Retry-After"] == "2"
        assert (await answer.json())["error_type"] == "not_ready"
