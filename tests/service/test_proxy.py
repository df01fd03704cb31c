"""`/fal/proxy` as fal's JavaScript client uses it."""

from pathlib import Path

import pytest

from service.api_keys import make_key
from tests.service.harness import Service, body, parse_events, running_service

PROXY = "/fal/proxy"


def to(target: str) -> dict[str, str]:
    return {"x-fal-target-url": target}


async def test_run_and_stream(service: Service) -> None:
    answer = await service.http.post(PROXY, json=body(), headers=to("https://fal.run/local/postcard"))
    assert (answer.status, (await answer.json())["seed"]) == (200, 1)
    answer = await service.http.post(PROXY, json=body(), headers=to("https://fal.run/local/postcard/stream"))
    assert answer.content_type == "text/event-stream"
    assert parse_events(await answer.read())[-1].json["step"] == 4


async def test_the_queue_from_end_to_end(service: Service) -> None:
    app = "https://queue.fal.run/local/postcard"
    submitted = await service.http.post(PROXY, json=body(), headers=to(app))
    one = f"{app}/requests/{(await submitted.json())['request_id']}"
    streamed = await service.http.get(PROXY, headers=to(f"{one}/status/stream?logs=1"))
    last = parse_events(await streamed.read())[-1].json
    assert (last["status"], last["logs"][0]["message"]) == ("COMPLETED", "step 4 of 4")
    assert (await service.http.get(PROXY, headers=to(one))).status == 200
    assert (await service.http.put(PROXY, headers=to(f"{one}/cancel"))).status == 400


async def test_a_token_without_keys(service: Service) -> None:
    answer = await service.http.post(PROXY, json={"allowed_apps": ["x"]}, headers=to("https://rest.fal.ai/tokens/"))
    assert await answer.json() == "none"
    assert answer.headers["Cache-Control"] == "no-store"


async def test_a_token_is_the_caller_s_own_key(service: Service) -> None:
    answer = await service.http.post("/fal/tokens/", headers={"Authorization": "Key mine"})
    assert await answer.json() == "mine"


async def test_what_is_wrong_with_the_request_is_told_as_there(service: Service) -> None:
    answer = await service.http.post(PROXY, json=body(width=65), headers=to("https://fal.run/local/postcard"))
    assert (answer.status, (await answer.json())["message"]) == (422, "width: must be a multiple of 8")


@pytest.mark.parametrize(
    "target",
    [
        "",
        "nonsense",
        "/local/postcard",
        "https://",
        "https://example.com/local/postcard",
        "https://fal.run.example.com/local/postcard",
        "https://fal.run:8443/local/postcard",
        "http://fal.run/local/postcard",
        "file:///etc/passwd",
        "https://127.0.0.1/local/postcard",
        "https://[fal.run/local/postcard",
        "https://fal.run/local/postcard?" + "x" * 2048,
    ],
)
async def test_a_target_that_is_not_fal_s(service: Service, target: str) -> None:
    answer = await service.http.post(PROXY, json=body(), headers=to(target))
    assert (answer.status, (await answer.json())["error_type"]) == (400, "bad_target")


@pytest.mark.parametrize(
    "target",
    [
        "https://fal.run/v1/generations",
        "https://fal.run/local/postcard/../../v1/generations",
        "https://fal.run/fal/proxy",
        "https://fal.run/metrics",
        "https://fal.run/generate?prompt=x",
        "https://queue.fal.run/local",
        "https://rest.fal.ai/storage/upload/initiate",
        "https://rest.fal.ai/proxy",
    ],
)
async def test_only_fal_s_routes_are_reached(service: Service, target: str) -> None:
    for method in ("GET", "POST"):
        answer = await service.http.request(method, PROXY, json=body(), headers=to(target))
        assert (answer.status, (await answer.json())["error_type"]) == (404, "not_found")
    assert service.metric("steps_total") == 0


async def test_a_key_is_needed_here_as_anywhere(tmp_path: Path) -> None:
    key, line = make_key("me")
    (tmp_path / "keys").write_text(line)
    async with running_service(api_key_file=tmp_path / "keys") as service:
        headers = to("https://queue.fal.run/local/postcard")
        assert (await service.http.post(PROXY, json=body(), headers=headers)).status == 401
        answer = await service.http.post(PROXY, json=body(), headers={**headers, "Authorization": f"Key {key}"})
        assert service.generation(answer.headers["X-Fal-Request-Id"]).owner == "me"
