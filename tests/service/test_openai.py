"""OpenAI's wire format, byte by byte."""

import base64
import json
from typing import Any

import aiohttp
import pytest

from scheduler.fake_engine import FAILING_PROMPT
from service.api.openai import ImagesBody, partial_steps
from service.errors import ApiError
from tests.service.harness import (
    MODEL,
    Service,
    eventually,
    image_bytes,
    is_picture_of,
    next_event,
    params,
    parse_events,
    preview_bytes,
    running_service,
)

PATH = "/v1/images/generations"
NO_USAGE = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
}


def asked(**fields: object) -> dict[str, object]:
    """A small request: four steps; the steps and the seed as an SDK's `extra_body`."""
    return {"model": "any", "prompt": "a red boat", "size": "64x64", "num_inference_steps": 4, "seed": 1, **fields}


def painted(**fields: Any) -> Any:
    """What `asked` is parsed into."""
    return params(**{"negative_prompt": None, "image_format": "png", **fields})


def block(name: str, data: object) -> bytes:
    return f"event: {name}\ndata: ".encode() + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def parse(**fields: object) -> ImagesBody:
    return ImagesBody.of({"prompt": "a red boat", **fields}, MODEL)


def test_partial_images_lie_evenly_between_the_steps() -> None:
    assert [partial_steps(20, count) for count in range(4)] == [(), (10,), (7, 13), (5, 10, 15)]


@pytest.mark.parametrize(
    ("num_steps", "count", "steps"),
    [(1, 3, ()), (2, 3, (1,)), (3, 3, (1, 2)), (4, 3, (1, 2, 3)), (50, 3, (12, 25, 38))],
)
def test_where_steps_are_few_so_are_partial_images(num_steps: int, count: int, steps: tuple[int, ...]) -> None:
    assert partial_steps(num_steps, count) == steps


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"width": 256, "height": 256, "image_format": "png", "num_steps": 20, "negative_prompt": None}),
        ({"size": "auto"}, {"width": 256, "height": 256}),
        ({"size": "128x64"}, {"width": 128, "height": 64}),
        ({"width": 128}, {"width": 128, "height": 256}),
        ({"quality": "low"}, {"num_steps": 10}),
        ({"quality": "hd"}, {"num_steps": 30}),
        ({"quality": "low", "num_inference_steps": 7}, {"num_steps": 7}),
        ({"output_format": "webp", "output_compression": 0}, {"image_format": "webp", "image_quality": 1}),
        ({"format": "jpeg"}, {"image_format": "jpeg"}),
        ({"negative_prompt": "fog", "guidance_scale": 2}, {"negative_prompt": "fog", "guidance_scale": 2.0}),
        ({"partial_images": 3}, {"preview_steps": ()}),
        ({"partial_images": 1, "stream": True}, {"preview_steps": (10,)}),
        ({"stream": True, "preview_every": 1}, {"preview_steps": ()}),
        (dict.fromkeys(("n", "size", "quality", "stream", "partial_images", "output_format")), {"num_steps": 20}),
        (dict.fromkeys(("style", "user", "moderation", "model", "mask"), "anything"), {"num_steps": 20}),
    ],
)
def test_openai_s_words_and_ours(fields: dict[str, object], expected: dict[str, object]) -> None:
    [made] = parse(**fields).to_params(MODEL)
    assert {name: getattr(made, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("count", "fields"), [(1, {}), (3, {"n": 3}), (2, {"num_images": 2}), (3, {"n": 3, "num_images": 2})]
)
def test_how_many(count: int, fields: dict[str, object]) -> None:
    assert [each.seed for each in parse(seed=7, **fields).to_params(MODEL)] == list(range(7, 7 + count))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": ""}, "prompt: must not be empty"),
        ({"n": 0}, "n: must be at least 1"),
        ({"n": 5}, "n: must be at most 4"),
        ({"n": "2"}, "n: must be a whole number"),
        ({"size": "64"}, 'size: must be "auto" or "WIDTHxHEIGHT", such as "512x512"'),
        ({"size": "64x65"}, "size: must be a multiple of 8"),
        ({"size": "64x2048"}, "size: must be at most 1024"),
        ({"size": "64x64", "width": 64}, "size: must not be given together with width, height or image_size"),
        ({"output_format": "gif"}, "output_format: must be 'jpeg', 'png' or 'webp'"),
        ({"background": "transparent"}, "background: must be 'auto' or 'opaque'"),
        ({"partial_images": 4}, "partial_images: must be at most 3"),
        ({"response_format": "file"}, "response_format: must be 'b64_json' or 'url'"),
        ({"output_compression": 101}, "output_compression: must be at most 100"),
    ],
)
def test_a_wrong_field_is_told_by_openai_s_name(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse(**fields)
    assert str(caught.value) == message


async def test_an_answer(service: Service) -> None:
    answer = await service.http.post(PATH, json=asked())
    generation = service.generation(answer.headers["x-request-id"])
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    assert await answer.json() == {
        "created": int(generation.created_at),
        "data": [{"b64_json": encoded(image_bytes(painted())), "seed": 1}],
        "background": "opaque",
        "output_format": "png",
        "quality": "medium",
        "size": "64x64",
        "usage": NO_USAGE,
    }
    assert service.metric("previews_generated_total") == 0
    assert service.metric("requests_received_total", route="openai") == 1


async def test_pictures_by_url(service: Service) -> None:
    answer = await service.http.post(PATH, json=asked(n=2, response_format="url"))
    data = (await answer.json())["data"]
    start = service.http.make_url(f"/v1/generations/{answer.headers['x-request-id']}/images/")
    assert data == [{"url": f"{start}0", "seed": 1}, {"url": f"{start}1", "seed": 2}]
    for picture in data:
        fetched = await service.http.get(picture["url"].removeprefix(str(service.http.make_url("/"))[:-1]))
        assert is_picture_of(picture["seed"], await fetched.read())


async def test_the_bytes_of_a_stream(service: Service) -> None:
    """However fast the steps are, every partial image comes."""
    answer = await service.http.post(PATH, json=asked(stream=True, partial_images=3))
    assert answer.content_type == "text/event-stream"
    received = await answer.read()
    created = int(service.generation(answer.headers["x-request-id"]).created_at)

    def image(kind: str, data: bytes, image_format: str) -> dict[str, object]:
        return {
            "type": f"image_generation.{kind}",
            "b64_json": encoded(data),
            "created_at": created,
            "background": "opaque",
            "output_format": image_format,
            "quality": "medium",
            "size": "64x64",
            "seed": 1,
        }

    partial = [image("partial_image", preview_bytes(painted(), step), "jpeg") for step in (1, 2, 3)]
    blocks = [
        block("image_generation.partial_image", {**each, "partial_image_index": index})
        for index, each in enumerate(partial)
    ]
    final = {**image("completed", image_bytes(painted()), "png"), "usage": NO_USAGE}
    assert received == b"".join([*blocks, block("image_generation.completed", final)])


async def test_a_stream_of_many_pictures(service: Service) -> None:
    answer = await service.http.post(PATH, json=asked(stream=True, partial_images=1, n=2))
    events = [event.json for event in parse_events(await answer.read())]
    partial, completed = events[:2], events[2:]
    assert sorted((event["image_index"], event["partial_image_index"]) for event in partial) == [(0, 0), (1, 0)]
    assert [(event["image_index"], event["seed"]) for event in completed] == [(0, 1), (1, 2)]


async def test_a_failed_stream_tells_why_and_does_not_end_well(service: Service) -> None:
    answer = await service.http.post(PATH, json=asked(stream=True, prompt=FAILING_PROMPT))
    error = {
        "message": "the fake engine was asked to fail this request",
        "type": "server_error",
        "param": None,
        "code": "engine_error",
    }
    received = await answer.content.readuntil(b"\n\n")
    assert received == block("error", {"type": "error", "error": error})
    with pytest.raises(aiohttp.ClientPayloadError):
        await answer.content.read()


async def test_a_failure_is_not_to_be_repeated(service: Service) -> None:
    answer = await service.http.post(PATH, json=asked(prompt=FAILING_PROMPT))
    assert (answer.status, answer.headers["x-should-retry"]) == (500, "false")
    assert (await answer.json())["error"]["code"] == "engine_error"


async def test_a_wrong_field_is_a_400(service: Service) -> None:
    answer = await service.http.post(PATH, json=asked(n=9, stream=True))
    assert answer.status == 400
    error = {
        "message": "n: must be at most 4",
        "type": "invalid_request_error",
        "param": "n",
        "code": "less_than_equal",
    }
    assert (await answer.json())["error"] == error
    assert service.metric("requests_rejected_total", reason="invalid") == 1


async def test_who_is_turned_away_for_a_while_is_told_when_to_come_back() -> None:
    async with running_service(loaded=False) as service:
        answer = await service.http.post(PATH, json=asked())
        assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
        assert "x-should-retry" not in answer.headers
        assert (await service.http.get("/v1/models")).status == 503


async def test_a_client_that_goes_away_frees_its_row_within_a_step(gated: Service) -> None:
    answer = await gated.http.post(PATH, json=asked(stream=True, partial_images=3, num_inference_steps=50))
    generation = gated.generation(answer.headers["x-request-id"])
    answer.close()
    await eventually(lambda: generation.cancel_cause == "disconnect")
    await gated.step_until(lambda: generation.status == "cancelled")


async def test_a_slow_reader_still_gets_every_partial_image(gated: Service) -> None:
    answer = await gated.http.post(PATH, json=asked(stream=True, partial_images=3))
    generation = gated.generation(answer.headers["x-request-id"])
    gated.worker.allow(4)
    await eventually(lambda: generation.is_over)
    assert [(await next_event(answer)).json.get("partial_image_index") for _ in range(4)] == [0, 1, 2, None]


async def test_models(service: Service) -> None:
    listed = await (await service.http.get("/v1/models")).json()
    [model] = listed["data"]
    assert listed == {"object": "list", "data": [model]}
    created = model.pop("created")
    assert isinstance(created, int)
    assert model == {"id": "fake", "object": "model", "owned_by": "latentcast"}
    assert await (await service.http.get("/v1/models/fake")).json() == {**model, "created": created}


@pytest.mark.parametrize("name", ["other", "two/words", "two%2Fwords", "fake/"])
async def test_an_unknown_model(service: Service, name: str) -> None:
    answer = await service.http.get(f"/v1/models/{name}")
    assert (answer.status, (await answer.json())["message"]) == (404, "model: not found")
