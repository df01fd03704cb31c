"""`GET /generate`, as an EventSource uses it."""

import base64
import json
from collections.abc import Callable

import aiohttp
import pytest

from scheduler.fake_engine import FAILING_PROMPT
from service.generation import Generation
from service.keys import TICKER
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

QUERY = {name: str(value) for name, value in body().items()}


def data_url(data: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def block(event_id: str, data: object) -> bytes:
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    return f"id: {event_id}\ndata: {text}\n\n".encode()


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ({}, bytes.hex),
        ({"encoding": "hex"}, bytes.hex),
        ({"encoding": "base64"}, lambda data: base64.b64encode(data).decode()),
        ({"encoding": "url"}, data_url),
    ],
)
async def test_the_bytes_of_a_stream(
    service: Service, encoding: dict[str, str], encode: Callable[[bytes], str]
) -> None:
    # One step: a preview would come after the first one, unless it is also the last.
    answer = await service.http.get("/generate", params={**QUERY, **encoding, "num_inference_steps": "1"})
    one = answer.headers["x-request-id"]
    image = {"step": 1, "total_steps": 1, "image": encode(image_bytes(params(num_steps=1)))}
    assert await answer.read() == block(f"{one}.3", image) + block(f"{one}.4", "[DONE]")


async def test_several_images_are_an_event_each_and_then_it_is_done(service: Service) -> None:
    query = {**QUERY, "num_inference_steps": "1", "num_images": "3"}
    answer = await service.http.get("/generate", params=query)
    one = answer.headers["x-request-id"]
    images = [
        {
            "step": 1,
            "total_steps": 1,
            "image": image_bytes(params(num_steps=1, seed=1 + index)).hex(),
            "image_index": index,
        }
        for index in range(3)
    ]
    blocks = [block(f"{one}.{3 + index}", image) for index, image in enumerate(images)] + [block(f"{one}.6", "[DONE]")]
    assert await answer.read() == b"".join(blocks)
    for seen in (2, 3, 4, 5):
        again = await service.http.get("/generate", params=query, headers={"Last-Event-ID": f"{one}.{seen}"})
        assert await again.read() == b"".join(blocks[seen - 2 :])
    again = await service.http.get("/generate", params=query, headers={"Last-Event-ID": f"{one}.6"})
    assert again.status == 204


async def test_previews_tell_which_image_they_are_of(gated: Service) -> None:
    answer = await gated.http.get("/generate", params={**QUERY, "num_images": "2"})
    gated.worker.allow()
    previews = [(await next_event(answer)).json for _ in range(2)]
    assert {preview["image_index"]: preview["image"] for preview in previews} == {
        index: preview_bytes(params(seed=1 + index), 1).hex() for index in range(2)
    }


async def test_previews_have_ids_that_rise(gated: Service) -> None:
    answer = await gated.http.get("/generate", params=QUERY)
    gated.worker.allow()
    first = await next_event(answer)
    assert first.json == {"step": 1, "total_steps": 4, "image": preview_bytes(params(), 1).hex()}
    gated.worker.allow(3)
    events = [first, *parse_events(await answer.read())]
    numbers = [int(str(event.id).rpartition(".")[2]) for event in events]
    assert numbers == sorted(set(numbers))
    assert events[-1].data == "[DONE]"


async def test_a_browser_that_comes_back_attaches_to_the_same_generation(gated: Service) -> None:
    async with gated.http.get("/generate", params=QUERY) as answer:
        gated.worker.allow()
        seen = (await next_event(answer)).id
    again = await gated.http.get("/generate", params=QUERY, headers={"Last-Event-ID": str(seen)})
    gated.worker.allow(3)
    events = parse_events(await again.read())
    assert again.headers["x-request-id"] == str(seen).partition(".")[0]
    assert [event.data for event in events][-1] == "[DONE]"
    assert all(str(event.id) > str(seen) for event in events)
    assert gated.metric("requests_received_total", route="generate") == 1
    assert gated.metric("stream_resumes_total", result="hit") == 1


async def test_one_that_missed_the_end_gets_it(service: Service) -> None:
    answer = await service.http.get("/generate", params=QUERY)
    last = parse_events(await answer.read())[-1]
    one, _, number = str(last.id).rpartition(".")
    for missed, count in ((int(number) - 1, 1), (int(number) - 2, 2)):
        again = await service.http.get("/generate", params=QUERY, headers={"Last-Event-ID": f"{one}.{missed}"})
        events = parse_events(await again.read())
        assert len(events) == count
        assert events[-1] == last


@pytest.mark.parametrize("seen", ["unknown.3", "nonsense", ".", "a.b", "x.²", "x." + "9" * 5000])
async def test_an_unknown_id_starts_nothing(service: Service, seen: str) -> None:
    answer = await service.http.get("/generate", params=QUERY, headers={"Last-Event-ID": seen})
    assert (answer.status, await answer.read()) == (204, b"")
    assert service.metric("requests_received_total", route="generate") == 0
    assert service.metric("stream_resumes_total", result="miss") == 1


async def test_one_that_has_seen_the_end_is_told_to_stop(service: Service) -> None:
    answer = await service.http.get("/generate", params=QUERY)
    last = parse_events(await answer.read())[-1]
    again = await service.http.get("/generate", params=QUERY, headers={"Last-Event-ID": str(last.id)})
    assert again.status == 204


async def test_a_failure_has_an_id_and_breaks_the_connection(service: Service) -> None:
    answer = await service.http.get("/generate", params={**QUERY, "prompt": FAILING_PROMPT})
    event = await next_event(answer)
    assert event.json["error"]["code"] == "engine_error"
    with pytest.raises(aiohttp.ClientPayloadError):
        await answer.content.read()
    again = await service.http.get("/generate", params=QUERY, headers={"Last-Event-ID": str(event.id)})
    assert again.status == 204


async def test_it_is_cancelled_when_nobody_comes_back() -> None:
    async with running_service(gated=True, grace=0.05) as service:
        async with service.http.get("/generate", params=QUERY) as answer:
            generation = service.generation(answer.headers["x-request-id"])
        await eventually(lambda: generation.cancel_cause == "disconnect")


async def test_it_goes_on_when_the_browser_comes_back_in_time() -> None:
    async with running_service(gated=True, grace=60) as service:
        async with service.http.get("/generate", params=QUERY) as answer:
            generation = service.generation(answer.headers["x-request-id"])
        await eventually(lambda: generation.grace_timer)
        again = await service.http.get("/generate", params=QUERY, headers={"Last-Event-ID": f"{generation.id}.0"})
        assert generation.grace_timer is None
        service.worker.allow(4)
        assert parse_events(await again.read())[-1].data == "[DONE]"


async def cut_off(service: Service, **changes: str) -> Generation:
    """One whose client has gone before its first event."""
    async with service.http.get("/generate", params={**QUERY, **changes}) as answer:
        generation = service.generation(answer.headers["x-request-id"])
        service.app[TICKER].tick()
        assert await answer.content.readuntil(b"\n") == b": keep-alive\n"
    await eventually(lambda: not generation.watchers)
    return generation


async def test_one_that_is_cut_off_before_its_first_event_comes_back_without_an_id(gated: Service) -> None:
    generation = await cut_off(gated)
    again = await gated.http.get("/generate", params=QUERY)
    assert again.headers["x-request-id"] == generation.id
    gated.worker.allow(4)
    assert parse_events(await again.read())[-1].data == "[DONE]"
    assert gated.metric("requests_received_total", route="generate") == 1
    assert gated.metric("stream_resumes_total", result="hit") == 1
    assert gated.metric("images_total") == 1


async def test_it_may_be_cut_off_again_and_finished_meanwhile(gated: Service) -> None:
    first, second = await cut_off(gated), await cut_off(gated)
    assert first is second
    gated.worker.allow(4)
    await eventually(lambda: first.is_over)
    again = await gated.http.get("/generate", params=QUERY)
    assert [event.id for event in parse_events(await again.read())][-1] == f"{first.id}.{first.final_number}"
    assert gated.metric("requests_received_total", route="generate") == 1


@pytest.mark.parametrize("change", [{"seed": "2"}, {"encoding": "base64"}, {"num_images": "2"}])
async def test_whoever_asks_for_something_else_starts_another(gated: Service, change: dict[str, str]) -> None:
    generation = await cut_off(gated)
    async with gated.http.get("/generate", params={**QUERY, **change}) as other:
        assert other.headers["x-request-id"] != generation.id


async def test_one_that_was_cut_off_is_given_out_once(gated: Service) -> None:
    generation = await cut_off(gated)
    async with gated.http.get("/generate", params=QUERY) as one, gated.http.get("/generate", params=QUERY) as two:
        assert one.headers["x-request-id"] == generation.id
        assert two.headers["x-request-id"] != generation.id


async def test_whoever_has_seen_an_event_and_shows_no_id_starts_another(gated: Service) -> None:
    async with gated.http.get("/generate", params=QUERY) as answer:
        gated.worker.allow()
        seen = (await next_event(answer)).id
    generation = gated.generation(str(seen).partition(".")[0])
    await eventually(lambda: not generation.watchers)
    async with gated.http.get("/generate", params=QUERY) as again:
        assert again.headers["x-request-id"] != generation.id


async def test_one_that_is_about_to_be_cancelled_is_not_given_out() -> None:
    async with running_service(gated=True, grace=0) as service:
        generation = await cut_off(service)
        assert generation.is_ending
        async with service.http.get("/generate", params=QUERY) as again:
            assert again.headers["x-request-id"] != generation.id


async def test_wrong_queries_are_told_in_full(service: Service) -> None:
    answer = await service.http.get("/generate", params={"prompt": "", "width": "65", "seed": "x", "colour": "red"})
    assert answer.status == 422
    locations = [problem["loc"] for problem in (await answer.json())["detail"]]
    assert locations == [["query", "prompt"], ["query", "width"], ["query", "seed"], ["query", "colour"]]


async def test_an_unknown_encoding_is_refused(service: Service) -> None:
    answer = await service.http.get("/generate", params={**QUERY, "encoding": "rot13"})
    assert answer.status == 422
    assert (await answer.json())["message"] == "encoding: must be one of hex, base64, url"


async def test_the_longest_prompt_fits_into_a_query(service: Service) -> None:
    answer = await service.http.get("/generate", params={**QUERY, "prompt": "🚤" * 2000})
    assert answer.status == 200
    await answer.read()
