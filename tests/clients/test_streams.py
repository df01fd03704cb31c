"""Event streams as plain clients read them, also through a proxy that buffers: one event after the other.

The engine of these services makes a step only when the test allows one. A client that has read a preview while no
further step was allowed has read it before the generation was finished.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from service.generation import FINAL
from tests.clients.nginx import running_nginx
from tests.clients.pictures import format_of, from_data_url
from tests.clients.watchers import WATCHES, Watch, aiohttp_sse_client
from tests.service.harness import SentEvent, Service, body, eventually, running_service
from tests.web.network import CuttableNetwork
from tests.web.server import Server

STEPS = 4
REQUEST = body(num_inference_steps=STEPS, preview_every=1)
QUERY = "&".join(f"{name}={value}".replace(" ", "+") for name, value in REQUEST.items())

clients = pytest.mark.parametrize("watch", WATCHES.values(), ids=WATCHES.keys())
ways = pytest.mark.parametrize("way", ["direct", "nginx"])


@asynccontextmanager
async def reach(way: str, folder: Path) -> AsyncIterator[tuple[Service, str]]:
    """A gated service that keeps its streams alive all the time, and its address on that way."""
    async with running_service(gated=True, keep_alive=0.01) as service:
        url = str(service.http.make_url("")).rstrip("/")
        if way == "direct":
            yield service, url
            return
        with running_nginx(folder, url) as nginx:
            yield service, nginx


async def kept_alive(service: Service) -> None:
    """Returns when one more comment was sent."""
    sent = service.metric("stream_bytes_sent_total", kind="control")
    await eventually(lambda: service.metric("stream_bytes_sent_total", kind="control") > sent)


def number_of(event: SentEvent) -> int:
    return int((event.id or "").rpartition(".")[2])


@clients
@ways
async def test_a_stream_without_ids(watch: Watch, way: str, tmp_path: Path) -> None:
    async with reach(way, tmp_path) as (service, url), watch(f"{url}/stream", REQUEST) as events:
        for step in range(1, STEPS + 1):
            service.worker.allow()
            event = await anext(events)
            assert (event.id, event.json["step"]) == (None, step)
            assert ("images" in event.json) == (step == STEPS)
            if step < STEPS:
                await kept_alive(service)


@clients
@ways
async def test_a_stream_with_ids(watch: Watch, way: str, tmp_path: Path) -> None:
    async with reach(way, tmp_path) as (service, url):
        one = (await service.create(**REQUEST))["id"]
        async with watch(f"{url}/v1/generations/{one}/events", None) as events:
            while (event := await anext(events)).name != "started":
                assert event.name == "queued"
            numbers = [number_of(event)]
            for step in range(1, STEPS):
                await kept_alive(service)
                service.worker.allow()
                event = await anext(events)
                assert (event.name, event.json["step"]) == ("preview", step)
                numbers.append(number_of(event))
            service.worker.allow()
            event = await anext(events)
    assert event.name == "succeeded"
    numbers.append(number_of(event))
    assert numbers == sorted(set(numbers))


@clients
@ways
async def test_a_stream_that_starts_its_generation(watch: Watch, way: str, tmp_path: Path) -> None:
    async with reach(way, tmp_path) as (service, url), watch(f"{url}/generate?{QUERY}", None) as events:
        for step in range(1, STEPS + 1):
            service.worker.allow()
            assert (await anext(events)).json["step"] == step
            if step < STEPS:
                await kept_alive(service)
        assert (await anext(events)).data == "[DONE]"


@clients
async def test_a_late_watcher_has_the_newest_preview_at_once(watch: Watch, tmp_path: Path) -> None:
    async with reach("direct", tmp_path) as (service, url):
        one = (await service.create(**REQUEST))["id"]
        service.worker.allow(2)
        await eventually(lambda: service.generation(one).step == 2)
        own = f"{url}/v1/generations/{one}/events"
        async with watch(own, None) as first, watch(own, None) as second:
            for events in (first, second):
                state, preview = await anext(events), await anext(events)
                assert (state.name, state.json["status"]) == ("started", "running")
                assert (preview.name, preview.json["step"]) == ("preview", 2)
            service.worker.allow(STEPS)
            for events in (first, second):
                names = [event.name async for event in _until_the_end(events)]
                assert names[-1] == "succeeded"


@ways
async def test_a_failure_never_ends_like_a_success(way: str, tmp_path: Path) -> None:
    async with reach(way, tmp_path) as (service, url), aiohttp.ClientSession() as session:
        service.worker.allow(STEPS)
        received = bytearray()
        async with session.post(f"{url}/stream", json=REQUEST | {"prompt": "fail this request"}) as answer:
            with pytest.raises(aiohttp.ClientPayloadError):
                await _read_all(answer, received)
        assert b"the fake engine was asked to fail this request" in received


@clients
async def test_who_comes_back_with_the_id_it_has_seen_misses_no_end(watch: Watch, tmp_path: Path) -> None:
    async with reach("direct", tmp_path) as (service, url):
        with CuttableNetwork(int(url.rpartition(":")[2])) as network:
            async with watch(f"{network.url}/generate?{QUERY}", None) as events:
                service.worker.allow()
                seen = await anext(events)
                network.cut()
            service.worker.allow(STEPS)
            async with watch(f"{network.url}/generate?{QUERY}", None, {"Last-Event-ID": seen.id or ""}) as events:
                rest = [event async for event in _until_the_end(events)]
    assert rest[-2].json["step"] == STEPS
    assert number_of(seen) < number_of(rest[0])
    assert service.metric("requests_received_total", route="generate") == 1
    assert service.metric("stream_resumes_total", result="hit") == 1


async def test_one_that_comes_back_after_the_end_is_told_to_stop(tmp_path: Path) -> None:
    async with reach("direct", tmp_path) as (service, url):
        service.worker.allow(STEPS)
        async with aiohttp_sse_client(f"{url}/generate?{QUERY}") as events:
            with pytest.raises(ConnectionAbortedError, match="204"):
                _ = [event async for event in events]
        assert service.metric("requests_received_total", route="generate") == 1


async def _read_all(answer: aiohttp.ClientResponse, received: bytearray) -> None:
    while chunk := await answer.content.readany():
        received += chunk


async def _until_the_end(events: AsyncIterator[SentEvent]) -> AsyncIterator[SentEvent]:
    """A client that reconnects at the end of a stream does not get to it."""
    async for event in events:
        yield event
        if event.data == "[DONE]" or event.name in FINAL:
            return


@clients
@ways
async def test_a_picture_of_the_real_model(watch: Watch, way: str, server: Server, tmp_path: Path) -> None:
    with running_nginx(tmp_path, server.url) as nginx:
        url = server.url if way == "direct" else nginx
        asked = {"prompt": "a red boat", "num_inference_steps": 8, "preview_every": 1}
        async with watch(f"{url}/stream", asked) as events:
            seen: list[dict[str, Any]] = []
            while not seen or "images" not in seen[-1]:
                seen.append((await anext(events)).json)
    assert seen[-1]["step"] == 8
    assert [event["step"] for event in seen] == sorted({event["step"] for event in seen})
    assert all(format_of(from_data_url(event["image"]["url"])) == "jpeg" for event in seen)
