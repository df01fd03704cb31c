"""A service with API keys: who is let in, whose a generation is, and how much a key may ask for."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from service.api_keys import make_key
from service.app import ROUTES
from tests.service.harness import Service, body, eventually, next_event, running_service

ALICE, ALICES_LINE = make_key("alice")
BOB, BOBS_LINE = make_key("bob")

PUBLIC = {("GET", "/"), ("GET", "/web/{name}"), ("GET", "/livez"), ("GET", "/readyz"), ("GET", "/openapi.json")}
PROTECTED = sorted({(route.method, route.path) for route in ROUTES if not route.is_public})


def with_key(key: str, scheme: str = "Bearer") -> dict[str, str]:
    return {"Authorization": f"{scheme} {key}"}


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.txt"
    path.write_text(f"{ALICES_LINE}\n{BOBS_LINE}\n")
    return path


@pytest.fixture
async def locked(key_file: Path) -> AsyncIterator[Service]:
    """Asks for keys."""
    async with running_service(api_key_file=key_file) as service:
        yield service


@pytest.fixture
async def gated_and_locked(key_file: Path) -> AsyncIterator[Service]:
    async with running_service(gated=True, api_key_file=key_file) as service:
        yield service


async def create(service: Service, key: str, **fields: object) -> str:
    """The new generation's id."""
    answer = await service.http.post("/v1/generations", json=body(**fields), headers=with_key(key))
    assert answer.status == 202, await answer.text()
    return str((await answer.json())["id"])


async def test_without_a_key_file_everyone_is_let_in(service: Service) -> None:
    assert (await service.http.post("/", json=body())).status == 200
    assert (await (await service.http.get("/readyz")).json())["auth"] is False
    assert (await service.http.post("/", json=body(), headers=with_key("any"))).status == 200
    answer = await service.http.get("/generate", params={"prompt": "x", "width": "64", "height": "64", "key": "any"})
    assert answer.status == 200


def test_public_routes_are_those_that_show_nothing_of_anyone() -> None:
    public = {(route.method, route.path) for route in ROUTES if route.is_public}
    assert public >= PUBLIC
    assert all(method == "GET" and path.startswith(("/docs", "/web")) for method, path in public - PUBLIC)


@pytest.mark.parametrize(("method", "path"), sorted(PUBLIC))
async def test_public_routes_need_no_key(locked: Service, method: str, path: str) -> None:
    answer = await locked.http.request(method, path.replace("{name}", "app.js"))
    assert answer.status == 200


async def test_the_page_can_tell_that_keys_are_needed(locked: Service) -> None:
    assert (await (await locked.http.get("/readyz")).json())["auth"] is True


@pytest.mark.parametrize(("method", "path"), PROTECTED)
async def test_all_others_do(locked: Service, method: str, path: str) -> None:
    answer = await locked.http.request(method, path)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == 'Key realm="latentcast", Bearer realm="latentcast"'
    error = (await answer.json())["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "unauthorized")
    assert "API key" in error["message"]


async def test_an_address_that_is_not_there_is_not_told_from_one_that_is(locked: Service) -> None:
    assert (await locked.http.get("/v1/nothing")).status == 401
    assert (await locked.http.get("/v1/nothing", headers=with_key(ALICE))).status == 404


async def test_refusals_are_counted(locked: Service) -> None:
    await locked.http.post("/stream", json=body())
    assert locked.metric("requests_rejected_total", reason="unauthorized") == 1


@pytest.mark.parametrize(
    "headers",
    [with_key(ALICE), with_key(ALICE, "Key"), with_key(ALICE, "key"), with_key(f" {ALICE} ", "BEARER")],
)
async def test_a_key_in_a_header(locked: Service, headers: Mapping[str, str]) -> None:
    assert (await locked.http.post("/", json=body(), headers=headers)).status == 200


@pytest.mark.parametrize("name", ["key", "fal_jwt_token"])
async def test_a_key_in_the_query(locked: Service, name: str) -> None:
    assert (await locked.http.post("/", json=body(), params={name: ALICE})).status == 200
    query = {"prompt": "a red boat", "width": "64", "height": "64", name: ALICE}
    answer = await locked.http.get("/generate", params=query)
    assert answer.status == 200
    assert (await answer.text()).endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(
    "headers",
    [
        with_key("lc_wrong"),
        with_key(""),
        with_key(ALICE, "Basic"),
        {"Authorization": ALICE},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {ALICE}x"},
    ],
)
async def test_wrong_keys(locked: Service, headers: Mapping[str, str]) -> None:
    assert (await locked.http.post("/", json=body(), headers=headers)).status == 401


async def test_a_wrong_header_is_not_made_good_by_the_query(locked: Service) -> None:
    answer = await locked.http.post("/", json=body(), params={"key": ALICE}, headers=with_key("lc_wrong"))
    assert answer.status == 401


async def test_only_its_owner_sees_a_generation(locked: Service) -> None:
    one = await create(locked, ALICE)
    await eventually(lambda: locked.generation(one).is_over)
    for path in ("", "/events", "/images/0"):
        url = f"/v1/generations/{one}{path}"
        assert (await locked.http.get(url, headers=with_key(BOB))).status == 404
        assert (await locked.http.get(url, headers=with_key(ALICE))).status == 200
    assert (await locked.http.get("/v1/events", params={"ids": one}, headers=with_key(BOB))).status == 404
    assert (await locked.http.get("/v1/events", params={"ids": one}, headers=with_key(ALICE))).status == 200


async def test_anothers_generations_are_passed_over_among_ones_own(gated_and_locked: Service) -> None:
    service = gated_and_locked
    hers, his = await create(service, ALICE), await create(service, BOB)
    params = {"ids": f"{his},{hers}"}
    async with service.http.get("/v1/events", params=params, headers=with_key(ALICE)) as answer:
        service.worker.allow(100)
        stream = await answer.text()
    assert hers in stream
    assert his not in stream


async def test_only_its_owner_cancels_a_generation(gated_and_locked: Service) -> None:
    service = gated_and_locked
    one = await create(service, ALICE)
    url = f"/v1/generations/{one}"
    assert (await service.http.delete(url, headers=with_key(BOB))).status == 404
    assert service.generation(one).cancel_cause is None
    assert (await service.http.delete(url, headers=with_key(ALICE))).status == 200
    service.worker.allow(100)
    await eventually(lambda: service.generation(one).status == "cancelled")


async def test_only_its_owner_resumes_a_stream(gated_and_locked: Service) -> None:
    service = gated_and_locked
    query = {"prompt": "a red boat", "width": "64", "height": "64"}
    service.worker.allow(1)
    async with service.http.get("/generate", params=query, headers=with_key(ALICE)) as answer:
        seen = {"Last-Event-ID": (await next_event(answer)).id or ""}
        other = await service.http.get("/generate", params=query, headers=with_key(BOB) | seen)
        assert other.status == 204
        async with service.http.get("/generate", params=query, headers=with_key(ALICE) | seen) as again:
            service.worker.allow(100)
            assert (await again.text()).endswith("data: [DONE]\n\n")


def raise_alice(key_file: Path) -> None:
    key_file.write_text(f"{ALICES_LINE}:5")


async def test_a_key_bounds_the_priority(locked: Service, key_file: Path) -> None:
    await create(locked, ALICE, priority=0)
    await create(locked, ALICE, priority=-3)
    answer = await locked.http.post("/v1/generations", json=body(priority=1), headers=with_key(ALICE))
    assert (answer.status, (await answer.json())["message"]) == (422, "priority: must be at most 0 with this API key")
    raise_alice(key_file)
    async with running_service(api_key_file=key_file) as service:
        await create(service, ALICE, priority=5)


def limited(key_file: Path, **limits: Any) -> Any:
    return running_service(gated=True, api_key_file=key_file, **limits)


async def test_a_key_has_so_many_generations_at_once(key_file: Path) -> None:
    async with limited(key_file, key_concurrency=1) as service:
        one = await create(service, ALICE)
        answer = await service.http.post("/stream", json=body(), headers=with_key(ALICE))
        assert (answer.status, answer.headers["Retry-After"]) == (429, "2")
        assert (await answer.json())["error"]["code"] == "too_many_generations"
        assert service.metric("requests_rejected_total", reason="too_many_generations") == 1
        await create(service, BOB)
        service.worker.allow(1000)
        await eventually(lambda: service.generation(one).is_over)
        await create(service, ALICE)


@pytest.mark.parametrize(
    ("path", "fields"), [("/stream", {}), ("/v1/images/generations", {"size": "64x64", "stream": True})]
)
async def test_a_key_has_so_many_streams_open(key_file: Path, path: str, fields: dict[str, object]) -> None:
    """What is turned away starts no work."""
    wanted = body() if not fields else {"prompt": "a red boat", **fields}
    async with limited(key_file, key_streams=1) as service:
        one = await service.http.post("/stream", json=body(), headers=with_key(ALICE))
        answer = await service.http.post(path, json=wanted, headers=with_key(ALICE))
        assert (answer.status, answer.headers["Retry-After"]) == (429, "2")
        assert (await answer.json())["error"]["code"] == "too_many_streams"
        assert service.metric("requests_rejected_total", reason="too_many_streams") == 1
        assert service.generations.count_under_way("alice") == 1
        async with service.http.post(path, json=wanted, headers=with_key(BOB)) as bobs:
            assert bobs.status == 200
        one.close()
        service.worker.allow(1000)
        await eventually(lambda: service.metric("stream_clients") == 0)
        async with service.http.post(path, json=wanted, headers=with_key(ALICE)) as again:
            assert again.status == 200


async def test_watching_and_websockets_are_streams_too(key_file: Path) -> None:
    async with limited(key_file, key_streams=1) as service:
        events = f"/v1/generations/{await create(service, ALICE)}/events"
        async with service.http.get(events, headers=with_key(ALICE)) as watching:
            assert watching.status == 200
            for path in (events, "/generate?prompt=a&width=64&height=64"):
                assert (await service.http.get(path, headers=with_key(ALICE))).status == 429
            with pytest.raises(aiohttp.WSServerHandshakeError, match="429"):
                await service.http.ws_connect("/generate", headers=with_key(ALICE))
            assert service.metric("requests_rejected_total", reason="too_many_streams") == 3
            assert service.metric("requests_total", outcome="rejected") == 1  # the one that asked for a picture
        await eventually(lambda: service.metric("stream_clients") == 0)
        async with service.http.ws_connect("/generate", headers=with_key(ALICE)):
            assert (await service.http.get(events, headers=with_key(ALICE))).status == 429


async def test_a_stream_that_comes_back_is_let_in_beside_the_one_that_it_replaces(key_file: Path) -> None:
    """Which may be dead without anyone knowing, and counts until that is noticed."""
    async with limited(key_file, key_streams=1) as service:
        events = f"/v1/generations/{await create(service, ALICE)}/events"
        async with service.http.get(events, headers=with_key(ALICE)) as first:
            seen = with_key(ALICE) | {"Last-Event-ID": (await next_event(first)).id or ""}
            async with service.http.get(events, headers=seen) as again:
                assert again.status == 200
                assert (await service.http.get(events, headers=seen)).status == 429


async def test_nobody_gets_what_another_asked_for_and_did_not_wait_for(gated_and_locked: Service) -> None:
    service, query = gated_and_locked, {"prompt": "a red boat", "width": "64", "height": "64"}
    async with service.http.get("/generate", params=query, headers=with_key(ALICE)) as answer:
        generation = service.generation(answer.headers["x-request-id"])
    await eventually(lambda: not generation.watchers)
    async with service.http.get("/generate", params=query | {"key": BOB}) as bobs:
        assert bobs.headers["x-request-id"] != generation.id
    async with service.http.get("/generate", params=query | {"key": ALICE}) as again:
        assert again.headers["x-request-id"] == generation.id


async def test_a_key_has_so_much_work_a_second(key_file: Path) -> None:
    async with limited(key_file, key_rate=0.001) as service:
        service.worker.allow(1000)
        await create(service, ALICE, num_inference_steps=50)
        answer = await service.http.post("/", json=body(), headers=with_key(ALICE))
        assert answer.status == 429
        assert int(answer.headers["Retry-After"]) >= 1
        assert (await answer.json())["error_type"] == "rate_limit"
        await create(service, BOB)


async def test_what_is_turned_away_is_not_charged(key_file: Path) -> None:
    async with limited(key_file, key_rate=0.001) as service:
        for _ in range(3):
            answer = await service.http.post("/", json=body(width=63), headers=with_key(ALICE))
            assert answer.status == 422
        await create(service, ALICE)


async def test_metrics_can_have_a_port_of_their_own(key_file: Path) -> None:
    async with running_service(api_key_file=key_file, metrics_port=1) as service:
        assert (await service.http.get("/metrics", headers=with_key(ALICE))).status == 404
