"""fal's queue, byte by byte."""

import json
import re
from pathlib import Path

import pytest

from scheduler.fake_engine import FAILING_PROMPT
from service.api_keys import make_key
from tests.service.harness import (
    SentEvent,
    Service,
    body,
    eventually,
    image_bytes,
    is_picture_of,
    next_event,
    params,
    parse_events,
    running_service,
)
from tests.service.test_fal import fal_image

APP = "/queue/local/postcard"


def url(service: Service, request_id: str, rest: str = "") -> str:
    return str(service.http.make_url(f"{APP}/requests/{request_id}{rest}"))


def urls(service: Service, request_id: str) -> dict[str, str]:
    return {
        "request_id": request_id,
        "response_url": url(service, request_id),
        "status_url": url(service, request_id, "/status"),
        "cancel_url": url(service, request_id, "/cancel"),
    }


async def submit(service: Service, **fields: object) -> str:
    """The request's id."""
    answer = await service.http.post(APP, json=body(**fields))
    assert answer.status == 200, await answer.text()
    request_id: str = (await answer.json())["request_id"]
    return request_id


async def finished(service: Service, **fields: object) -> str:
    request_id = await submit(service, **fields)
    await eventually(lambda: service.generation(request_id).is_over)
    return request_id


async def test_a_request_is_queued_with_all_its_addresses(gated: Service) -> None:
    answer = await gated.http.post(APP, json=body())
    request_id = answer.headers["X-Fal-Request-Id"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert await answer.json() == {"status": "IN_QUEUE", **urls(gated, request_id), "queue_position": 0}


async def test_one_that_waits_runs_and_ends() -> None:
    async with running_service(gated=True, loaded=False) as service:
        assert (await service.http.post(APP, json=body())).status == 503
        await service.worker.load()
        request_id = await submit(service)
        path = f"{APP}/requests/{request_id}/status"

        await eventually(lambda: service.generation(request_id).status == "running")
        answer = await service.http.get(path)
        assert answer.status == 202
        assert await answer.json() == {"status": "IN_PROGRESS", **urls(service, request_id), "logs": None}

        service.worker.allow(4)
        await eventually(lambda: service.generation(request_id).is_over)
        answer = await service.http.get(path)
        completed = await answer.json()
        assert answer.status == 200
        seconds = completed["metrics"].pop("inference_time")
        assert seconds > 0
        told: dict[str, object] = {"logs": None, "metrics": {}, "error": None, "error_type": None}
        assert completed == {"status": "COMPLETED", **urls(service, request_id), **told}


async def test_the_place_in_the_queue() -> None:
    async with running_service(gated=True, max_rows=2) as service:
        first, second, third = [await submit(service) for _ in range(3)]
        await eventually(lambda: service.generation(first).status == "running")
        for position, request_id in enumerate((second, third)):
            answer = await service.http.get(f"{APP}/requests/{request_id}/status")
            assert answer.status == 202
            queued = {"status": "IN_QUEUE", **urls(service, request_id), "queue_position": position}
            assert await answer.json() == queued
        service.worker.allow(100)


@pytest.mark.parametrize(
    ("logs", "has_logs"), [("1", True), ("true", True), ("True", True), ("0", False), ("x", False)]
)
async def test_logs_tell_how_far_it_is(service: Service, logs: str, has_logs: bool) -> None:
    request_id = await finished(service)
    answer = await service.http.get(f"{APP}/requests/{request_id}/status", params={"logs": logs})
    told = (await answer.json())["logs"]
    if not has_logs:
        assert told is None
        return
    [line] = told
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line.pop("timestamp"))
    assert line == {"message": "step 4 of 4", "level": "INFO", "source": "USER"}


async def test_the_result_is_what_run_gives(service: Service) -> None:
    request_id = await finished(service)
    answer = await service.http.get(f"{APP}/requests/{request_id}")
    assert answer.status == 200
    assert answer.headers["X-Fal-Request-Id"] == request_id
    output = await answer.json()
    assert all(seconds >= 0 for seconds in output.pop("timings").values())
    final = fal_image(image_bytes(params()))
    assert output == {"image": final, "images": [final], "seed": 1}


async def test_a_result_that_is_not_there_yet(gated: Service) -> None:
    request_id = await submit(gated)
    answer = await gated.http.get(f"{APP}/requests/{request_id}")
    assert answer.status == 400
    assert (await answer.json())["error_type"] == "in_progress"


def block(data: object) -> bytes:
    return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"


async def test_the_bytes_of_a_stream_of_statuses(gated: Service) -> None:
    request_id = await submit(gated)
    await eventually(lambda: gated.generation(request_id).status == "running")
    answer = await gated.http.get(f"{APP}/requests/{request_id}/status/stream")
    assert answer.content_type == "text/event-stream"
    gated.worker.allow(4)
    received = await answer.read()
    about = urls(gated, request_id)
    generation = gated.generation(request_id)
    assert generation.started_at is not None
    assert generation.finished_at is not None
    metrics = {"inference_time": generation.finished_at - generation.started_at}
    completed = {"status": "COMPLETED", **about, "logs": None, "metrics": metrics, "error": None, "error_type": None}
    assert received == block({"status": "IN_PROGRESS", **about, "logs": None}) + block(completed)


async def test_a_stream_with_logs_tells_each_preview(gated: Service) -> None:
    request_id = await submit(gated)
    answer = await gated.http.get(f"{APP}/requests/{request_id}/status/stream", params={"logs": "1"})

    def told(event: SentEvent) -> str:
        return str(event.json["logs"][0]["message"])

    gated.worker.allow()
    event = await next_event(answer)
    while event.json["status"] == "IN_QUEUE" or told(event) != "step 1 of 4":
        event = await next_event(answer)
    gated.worker.allow(2)
    assert told(await next_event(answer)) == "step 3 of 4"
    gated.worker.allow()
    assert [told(event) for event in parse_events(await answer.read())] == ["step 4 of 4"]


async def test_a_failure_is_told_by_the_status_and_by_the_result(service: Service) -> None:
    request_id = await finished(service, prompt=FAILING_PROMPT)
    message = "the fake engine was asked to fail this request"
    status = await (await service.http.get(f"{APP}/requests/{request_id}/status")).json()
    assert (status["status"], status["error"], status["error_type"]) == ("COMPLETED", message, "engine_error")
    answer = await service.http.get(f"{APP}/requests/{request_id}")
    assert (answer.status, (await answer.json())["message"]) == (500, message)


async def test_nobody_is_asked_to_fetch_a_lost_result_again(gated: Service) -> None:
    request_id = await submit(gated)
    await gated.worker.die()
    await eventually(lambda: gated.generation(request_id).is_over)
    answer = await gated.http.get(f"{APP}/requests/{request_id}")
    assert (answer.status, (await answer.json())["error"]["code"]) == (500, "worker_lost")
    assert "Retry-After" not in answer.headers


async def test_cancelling(gated: Service) -> None:
    request_id = await submit(gated)
    path = f"{APP}/requests/{request_id}"
    answer = await gated.http.put(f"{path}/cancel")
    assert (answer.status, await answer.json()) == (202, {"status": "CANCELLATION_REQUESTED"})
    gated.worker.allow()
    await eventually(lambda: gated.generation(request_id).is_over)
    again = await gated.http.put(f"{path}/cancel")
    assert (again.status, (await again.json())["error_type"]) == (400, "already_completed")
    assert (await gated.http.get(path)).status == 410


async def test_it_goes_on_without_a_client(service: Service) -> None:
    request_id = await finished(service, seed=5)
    assert is_picture_of(5, service.generation(request_id).pictures[0].data)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("GET", "/status"), ("GET", "/status/stream"), ("PUT", "/cancel")]
)
async def test_an_unknown_request(service: Service, method: str, path: str) -> None:
    answer = await service.http.request(method, f"{APP}/requests/unknown{path}")
    assert (answer.status, (await answer.json())["message"]) == (404, "request: not found")


@pytest.mark.parametrize(("header", "priority"), [("low", -5), ("normal", 0), ("other", 0), (None, 0)])
async def test_a_priority_in_fal_s_header(service: Service, header: str | None, priority: int) -> None:
    headers = {} if header is None else {"X-Fal-Queue-Priority": header}
    answer = await service.http.post(APP, json=body(), headers=headers)
    assert service.generation(answer.headers["X-Fal-Request-Id"]).params.priority == priority


async def test_a_webhook_is_refused_and_not_forgotten(service: Service) -> None:
    answer = await service.http.post(APP, params={"fal_webhook": "http://127.0.0.1:1/"}, json=body())
    assert (answer.status, (await answer.json())["error_type"]) == (400, "no_webhooks")
    assert service.metric("requests_received_total", route="queue") == 1
    assert service.metric("requests_total", outcome="rejected") == 1


async def test_another_key_s_request_is_unknown(tmp_path: Path) -> None:
    (mine, my_line), (other, other_line) = make_key("me"), make_key("other")
    (tmp_path / "keys").write_text(f"{my_line}\n{other_line}\n")
    async with running_service(api_key_file=tmp_path / "keys") as service:
        answer = await service.http.post(APP, json=body(), headers={"Authorization": f"Key {mine}"})
        path = f"{APP}/requests/{answer.headers['X-Fal-Request-Id']}"
        for method, rest in (("GET", ""), ("GET", "/status"), ("GET", "/status/stream"), ("PUT", "/cancel")):
            refused = await service.http.request(method, path + rest, headers={"Authorization": f"Key {other}"})
            assert refused.status == 404
        assert (await service.http.get(f"{path}/status", headers={"Authorization": f"Key {mine}"})).status in (200, 202)
