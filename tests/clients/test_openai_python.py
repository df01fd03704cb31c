"""OpenAI's Python SDK, unmodified."""

import base64
import json
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
import pytest

from service.api_keys import make_key
from tests.clients.pictures import format_of, size_of
from tests.web.server import Server

ASKED: dict[str, Any] = {
    "model": "gpt-image-1",  # any name will do
    "prompt": "a yellow boat at sunset",
    "size": "64x64",
    "extra_body": {"num_inference_steps": 8, "seed": 3},
}
LONG = {"num_inference_steps": 50, "width": 256, "height": 256}


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        yield client


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_a_picture(client: openai.OpenAI, output_format: Any) -> None:
    answer = client.images.generate(**ASKED, output_format=output_format, quality="low")
    assert (answer.size, answer.output_format, answer.quality, answer.background) == (
        "64x64",
        output_format,
        "low",
        "opaque",
    )
    assert answer.usage is not None
    assert abs(answer.created - time.time()) < 60
    assert answer.data is not None
    [image] = answer.data
    data = base64.b64decode(image.b64_json or "")
    assert (format_of(data), size_of(data)) == (output_format, (64, 64))


def test_the_model_s_own_size(client: openai.OpenAI) -> None:
    answer = client.images.generate(prompt="a boat", size="auto", extra_body={"num_inference_steps": 1})
    assert answer.size == "256x256"


def test_many_pictures_differ(client: openai.OpenAI) -> None:
    answer = client.images.generate(**ASKED, n=3)
    assert answer.data is not None
    assert len({image.b64_json for image in answer.data}) == 3


def test_pictures_by_url(client: openai.OpenAI) -> None:
    answer = client.images.generate(**ASKED, n=2, response_format="url")
    assert answer.data is not None
    for image in answer.data:
        assert image.b64_json is None
        assert image.url is not None
        with urllib.request.urlopen(image.url) as fetched:
            assert size_of(fetched.read()) == (64, 64)


def test_what_only_openai_knows_does_no_harm(client: openai.OpenAI) -> None:
    client.images.generate(**ASKED, style="vivid", user="me", moderation="low", background="auto", timeout=60)


@pytest.mark.parametrize("partial_images", [0, 1, 2, 3])
def test_a_stream_has_all_partial_images_and_the_picture(client: openai.OpenAI, partial_images: int) -> None:
    *partial, completed = client.images.generate(**ASKED, stream=True, partial_images=partial_images)
    assert [event.type for event in partial] == ["image_generation.partial_image"] * partial_images
    assert [getattr(event, "partial_image_index", None) for event in partial] == list(range(partial_images))
    assert completed.type == "image_generation.completed"
    assert completed.usage.total_tokens == 0
    for event in (*partial, completed):
        data = base64.b64decode(event.b64_json)
        assert (format_of(data), size_of(data)) == (event.output_format, (64, 64))
        assert (event.size, event.quality, event.background) == ("64x64", "medium", "opaque")
    assert len({event.b64_json for event in (*partial, completed)}) == partial_images + 1


async def test_asynchronously(server: Server) -> None:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        answer = await client.images.generate(**ASKED)
        assert answer.data is not None
        stream = await client.images.generate(**ASKED, stream=True, partial_images=2)
        events = [event async for event in stream]
    assert [event.type.rpartition(".")[2] for event in events] == ["partial_image", "partial_image", "completed"]


def test_models(client: openai.OpenAI) -> None:
    [model] = client.models.list()
    assert client.models.retrieve(model.id) == model
    assert (model.object, model.owned_by) == ("model", "latentcast")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("n", 5, "n: must be at most 4"),
        ("size", "65x64", "size: must be a multiple of 8"),
        ("size", "huge", 'size: must be "auto" or "WIDTHxHEIGHT", such as "512x512"'),
        ("output_format", "gif", "output_format: must be 'jpeg', 'png' or 'webp'"),
        ("background", "transparent", "background: must be 'auto' or 'opaque'"),
        ("prompt", "", "prompt: must not be empty"),
    ],
)
def test_a_wrong_field(client: openai.OpenAI, field: str, value: Any, message: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(**{**ASKED, field: value})
    assert message in str(caught.value)
    assert caught.value.param == field


def test_a_wrong_field_in_a_stream(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="partial_images: must be at most 3"):
        client.images.generate(**ASKED, stream=True, partial_images=4)


def test_an_unknown_model(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="model: not found"):
        client.models.retrieve("no/such/model")


class Recorder:
    """Sees each response before the SDK does; `then` is called after the first."""

    def __init__(self, then: Callable[[], None] | None = None) -> None:
        self.seen: list[tuple[float, httpx2.Response]] = []
        self._then = then

    def __call__(self, response: httpx2.Response) -> None:
        self.seen.append((time.monotonic(), response))
        if len(self.seen) == 1 and self._then is not None:
            self._then()

    def client(self, server: Server, key: str = "none", max_retries: int = 2) -> openai.OpenAI:
        http = openai.DefaultHttpxClient(event_hooks={"response": [self]})
        return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=max_retries, http_client=http)


def test_a_stream_that_fails_does_not_end_well(server: Server, client: openai.OpenAI) -> None:
    stream = client.images.generate(prompt="a boat", stream=True, partial_images=3, extra_body=LONG)
    assert next(stream).type == "image_generation.partial_image"
    httpx2.delete(f"{server.url}/v1/generations/{stream.response.headers['x-request-id']}")
    with pytest.raises(openai.APIError, match="the generation was cancelled") as caught:
        list(stream)
    assert caught.value.code == "cancelled"


@dataclass(frozen=True)
class Guarded:
    """A service that needs keys; each may have one generation at a time. One runs, one waits, and more find no room."""

    server: Server
    keys: Sequence[str]

    def occupy(self, key: str) -> str:
        """Starts a long generation; its id."""
        return str(json.loads(self._ask(key, "POST", "/v1/generations", {"prompt": "a boat", **LONG}))["id"])

    def wait_until_running(self, key: str, generation_id: str) -> None:
        deadline = time.monotonic() + 30
        while json.loads(self._ask(key, "GET", f"/v1/generations/{generation_id}"))["status"] != "running":
            assert time.monotonic() < deadline

    def cancel(self, key: str, generation_id: str) -> None:
        """Returns when it is over."""
        self._ask(key, "DELETE", f"/v1/generations/{generation_id}")
        self._ask(key, "GET", f"/v1/generations/{generation_id}/events")

    def _ask(self, key: str, method: str, path: str, body: Mapping[str, object] | None = None) -> bytes:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.server.url}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return bytes(answer.read())


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    keys, lines = zip(*map(make_key, ("one", "two", "three")), strict=True)
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text("\n".join(lines))
    limits = ("--key-concurrency", "1", "--max-rows", "2", "--max-queue-cost", "1")
    with Server("--api-key-file", str(path), *limits) as server:
        yield Guarded(server, keys)


def test_a_wrong_key(guarded: Guarded) -> None:
    recorder = Recorder()
    with recorder.client(guarded.server) as client, pytest.raises(openai.AuthenticationError, match="API key"):
        client.images.generate(**ASKED)
    assert len(recorder.seen) == 1


def test_a_key_that_asks_for_too_much(guarded: Guarded) -> None:
    key, *_ = guarded.keys
    generation_id = guarded.occupy(key)
    with Recorder().client(guarded.server, key, max_retries=0) as client:
        with pytest.raises(openai.RateLimitError, match="this key may have 1 generations at once"):
            client.images.generate(**ASKED)
        guarded.cancel(key, generation_id)


def test_a_full_queue(guarded: Guarded) -> None:
    running, waiting, late = guarded.keys
    first = guarded.occupy(running)
    guarded.wait_until_running(running, first)
    second = guarded.occupy(waiting)
    with Recorder().client(guarded.server, late, max_retries=0) as client:
        with pytest.raises(openai.InternalServerError, match="the queue is full") as caught:
            client.images.generate(**ASKED)
        assert caught.value.status_code == 503
        assert int(caught.value.response.headers["Retry-After"]) >= 1
    guarded.cancel(waiting, second)
    guarded.cancel(running, first)


def test_a_request_is_repeated_after_the_time_that_was_told(guarded: Guarded) -> None:
    key, *_ = guarded.keys
    generation_id = guarded.occupy(key)
    recorder = Recorder(then=lambda: guarded.cancel(key, generation_id))
    with recorder.client(guarded.server, key) as client:
        assert client.images.generate(**ASKED).data
    (refused_at, refused), (answered_at, answered) = recorder.seen
    assert (refused.status_code, answered.status_code) == (429, 200)
    assert answered_at - refused_at >= float(refused.headers["Retry-After"])
