"""Other web sites in a browser: kept out unless they are named."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from service.cors import parse_origins
from service.settings import SettingsError
from tests.service.harness import Service, body, running_service

FRIEND = "https://friend.example"
STRANGER = "https://stranger.example"

QUERY = {"prompt": "a red boat", "width": "64", "height": "64", "num_inference_steps": "1"}


@pytest.fixture
async def friendly() -> AsyncIterator[Service]:
    """Lets one other site in."""
    async with running_service(cors_origins=f"{FRIEND}, http://localhost:3000") as service:
        yield service


@pytest.fixture
async def open_to_all() -> AsyncIterator[Service]:
    async with running_service(cors_origins="*") as service:
        yield service


def preflight(origin: str, headers: str = "", method: str = "POST") -> dict[str, str]:
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    return asked | ({"Access-Control-Request-Headers": headers} if headers else {})


def cors_headers(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("Access-Control-")}


def test_origins_are_parsed() -> None:
    assert parse_origins("") == frozenset()
    assert parse_origins(" https://a.example,http://[::1]:3000 ,") == {"https://a.example", "http://[::1]:3000"}
    assert parse_origins("*") == {"*"}


@pytest.mark.parametrize("text", ["a.example", "https://a.example/", "ftp://a.example", "https://*.example", "null"])
def test_what_is_no_origin(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_origins(f"https://fine.example,{text}")
    assert str(caught.value) == (
        f"--cors-origins {text}: must be origins such as https://example.com, with commas between, or *"
    )


async def test_by_default_no_site_reads_an_answer(service: Service) -> None:
    answer = await service.http.post("/", json=body(), headers={"Origin": STRANGER})
    assert cors_headers(answer) == {}
    assert "Vary" not in answer.headers
    asked = await service.http.options("/stream", headers=preflight(STRANGER))
    assert (asked.status, cors_headers(asked)) == (204, {})


async def test_a_named_site_reads_answers_and_their_headers(friendly: Service) -> None:
    expected = {
        "Access-Control-Allow-Origin": FRIEND,
        "Access-Control-Expose-Headers": "x-fal-request-id, x-request-id, retry-after",
    }
    for path in ("/", "/stream"):
        answer = await friendly.http.post(path, json=body(), headers={"Origin": FRIEND})
        assert answer.status == 200
        assert cors_headers(answer) == expected
        assert answer.headers["Vary"] == "Origin"
    error = await friendly.http.post("/stream", json={}, headers={"Origin": FRIEND})
    assert (error.status, cors_headers(error)) == (422, expected)


async def test_no_other_does(friendly: Service) -> None:
    answer = await friendly.http.post("/", json=body(), headers={"Origin": STRANGER})
    assert cors_headers(answer) == {}
    assert answer.headers["Vary"] == "Origin"


async def test_a_star_lets_all_in(open_to_all: Service) -> None:
    answer = await open_to_all.http.get("/readyz", headers={"Origin": STRANGER})
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    asked = await open_to_all.http.options("/stream", headers=preflight(STRANGER))
    assert asked.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("path", ["/", "/stream", "/v1/generations", "/v1/generations/x", "/v1/events", "/generate"])
async def test_a_browser_that_asks_beforehand(friendly: Service, path: str) -> None:
    wanted = "authorization,content-type, Last-Event-ID,x-fal-queue,x-stainless-lang,x-secret"
    answer = await friendly.http.options(path, headers=preflight(FRIEND, wanted))
    assert answer.status == 204
    assert cors_headers(answer) == {
        "Access-Control-Allow-Origin": FRIEND,
        "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, DELETE",
        "Access-Control-Allow-Headers": "authorization, content-type, Last-Event-ID, x-fal-queue, x-stainless-lang",
        "Access-Control-Max-Age": "600",
        "Access-Control-Expose-Headers": "x-fal-request-id, x-request-id, retry-after",
    }


async def test_options_without_a_question_is_a_method_like_any_other(friendly: Service) -> None:
    assert (await friendly.http.options("/stream", headers={"Origin": FRIEND})).status == 405


async def test_no_site_starts_work_by_a_get(friendly: Service) -> None:
    cross_site = {"Sec-Fetch-Site": "cross-site"}
    answer = await friendly.http.get("/generate", params=QUERY, headers=cross_site)
    assert (answer.status, (await answer.json())["error_type"]) == (403, "foreign_origin")
    answer = await friendly.http.get("/generate", params=QUERY, headers=cross_site | {"Origin": STRANGER})
    assert answer.status == 403
    assert friendly.metric("requests_received_total", route="generate") == 0
    answer = await friendly.http.get("/generate", params=QUERY, headers=cross_site | {"Origin": FRIEND})
    assert answer.status == 200
    for own in ("same-origin", "same-site", "none"):
        assert (await friendly.http.get("/generate", params=QUERY, headers={"Sec-Fetch-Site": own})).status == 200


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


@pytest.mark.parametrize("origin", [STRANGER, "null", "http://127.0.0.1:1", "not an origin"])
async def test_no_other_site_opens_a_websocket(friendly: Service, origin: str) -> None:
    answer = await friendly.http.get("/generate", headers=UPGRADE | {"Origin": origin})
    assert (answer.status, (await answer.json())["error_type"]) == (403, "foreign_origin")


async def test_the_page_itself_a_named_site_and_a_program_may_open_one(friendly: Service) -> None:
    own = {"Origin": str(friendly.http.make_url("/").origin())}
    for headers in (own, {"Origin": FRIEND}, {}):
        async with friendly.http.get("/generate", headers=UPGRADE | headers) as answer:
            assert answer.status != 403
