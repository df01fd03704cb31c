"""fal's Python client, unmodified, over plain http: it is told where the service is by its module's variables."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import fal_client
import httpx
import pytest
from fal_client.client import FalClientHTTPError, RealtimeError
from httpx_sse import SSEError

from tests.clients.pictures import from_data_url, size_of
from tests.web.server import Server

APP = "local/postcard"
ARGUMENTS = {
    "prompt": "a red house in a green field",
    "num_inference_steps": 6,
    "preview_every": 2,
    "width": 64,
    "height": 64,
    "seed": 7,
}
LONG = {**ARGUMENTS, "num_inference_steps": 50, "width": 256, "height": 256}
WRONG = {**ARGUMENTS, "width": 65}
MESSAGE = "must be a multiple of 8"


@pytest.fixture(autouse=True)
def here(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fal_client.client, "RUN_URL_FORMAT", f"{server.url}/")
    monkeypatch.setattr(fal_client.client, "QUEUE_URL_FORMAT", f"{server.url}/queue/")
    monkeypatch.setattr(fal_client.client, "REALTIME_URL_FORMAT", f"{server.url.replace('http', 'ws')}/")
    monkeypatch.setattr(fal_client.client, "REST_URL", f"{server.url}/fal")


@pytest.fixture
def client() -> Iterator[fal_client.SyncClient]:
    client = fal_client.SyncClient(key="none")
    yield client
    client._client.close()  # it has no method for that


@pytest.fixture
async def async_client() -> AsyncIterator[fal_client.AsyncClient]:
    client = fal_client.AsyncClient(key="none")
    yield client
    await (await client._client).aclose()


def check_output(output: Mapping[str, Any]) -> None:
    assert output["seed"] == 7
    assert output["images"] == [output["image"]]
    assert (
        size_of(from_data_url(output["image"]["url"]))
        == (output["image"]["width"], output["image"]["height"])
        == (64, 64)
    )


def check_stream(events: list[dict[str, Any]]) -> None:
    *previews, final = events
    assert [event["step"] for event in previews] == sorted({event["step"] for event in previews} & {1, 3, 5})
    assert previews
    assert all(event["total_steps"] == 6 and "images" not in event for event in previews)
    assert all(size_of(from_data_url(event["image"]["url"])) == (64, 64) for event in previews)
    assert final["step"] == 6
    check_output(final)


class TestSync:
    def test_stream(self, client: fal_client.SyncClient) -> None:
        check_stream(list(client.stream(APP, ARGUMENTS)))

    def test_run(self, client: fal_client.SyncClient) -> None:
        check_output(client.run(APP, ARGUMENTS))

    def test_submit_and_get(self, client: fal_client.SyncClient) -> None:
        handle = client.submit(APP, ARGUMENTS)
        check_output(handle.get())
        assert isinstance(handle.status(), fal_client.Completed)
        check_output(client.result(APP, handle.request_id))

    def test_subscribe(self, client: fal_client.SyncClient) -> None:
        updates: list[fal_client.Status] = []
        ids: list[str] = []
        output = client.subscribe(
            APP, ARGUMENTS, with_logs=True, interval=0.02, on_enqueue=ids.append, on_queue_update=updates.append
        )
        check_output(output)
        assert len(ids) == 1
        *running, last = updates
        assert all(isinstance(update, fal_client.Queued | fal_client.InProgress) for update in running)
        assert isinstance(last, fal_client.Completed)
        assert last.error is None
        assert last.metrics["inference_time"] > 0
        assert last.logs is not None
        assert last.logs[0]["message"] == "step 6 of 6"

    def test_cancel(self, client: fal_client.SyncClient) -> None:
        handle = client.submit(APP, LONG)
        handle.cancel()
        *_, last = handle.iter_events(interval=0.02)
        assert isinstance(last, fal_client.Completed)
        assert (last.error, last.error_type) == ("the generation was cancelled", "cancelled")
        with pytest.raises(FalClientHTTPError) as caught:
            handle.get()
        assert caught.value.status_code == 410

    def test_a_client_that_gives_up_cancels(self, client: fal_client.SyncClient) -> None:
        ids: list[str] = []
        with pytest.raises(fal_client.FalClientTimeoutError):
            client.subscribe(APP, LONG, client_timeout=1.1, on_enqueue=ids.append)
        *_, last = client.get_handle(APP, ids[0]).iter_events(interval=0.02)
        assert isinstance(last, fal_client.Completed)

    def test_realtime(self, client: fal_client.SyncClient) -> None:
        with client.realtime(APP) as connection:
            for seed in (7, 8):
                connection.send({**ARGUMENTS, "seed": seed, "request_id": str(seed)})
                message = connection.recv()
                while message is not None and message["step"] < 6:
                    message = connection.recv()
                assert message is not None
                assert (message["seed"], message["request_id"]) == (seed, str(seed))
                assert size_of(message["images"][0]["content"]) == (64, 64)

    def test_realtime_without_a_token(self, client: fal_client.SyncClient) -> None:
        with client.realtime(APP, use_jwt=False) as connection:
            connection.send(WRONG)
            with pytest.raises(RealtimeError, match=MESSAGE) as caught:
                connection.recv()
            assert caught.value.error == "validation"

    def test_a_wrong_field(self, client: fal_client.SyncClient) -> None:
        with pytest.raises(FalClientHTTPError) as caught:
            client.run(APP, WRONG)
        error = caught.value
        assert (error.status_code, error.error_type) == (422, "validation")
        assert error.response.json()["detail"] == [{"loc": ["body", "width"], "msg": MESSAGE, "type": "multiple_of"}]

    def test_a_wrong_field_in_a_stream(self, client: fal_client.SyncClient) -> None:
        with pytest.raises(SSEError, match="application/json"):
            list(client.stream(APP, WRONG))

    def test_a_stream_that_fails_does_not_end_well(self, server: Server, client: fal_client.SyncClient) -> None:
        headers: list[httpx.Headers] = []
        client._client.event_hooks = {"response": [lambda response: headers.append(response.headers)]}
        events = client.stream(APP, LONG)
        told = [next(events)]
        httpx.delete(f"{server.url}/v1/generations/{headers[0]['x-fal-request-id']}")
        with pytest.raises(httpx.RemoteProtocolError):
            told.extend(events)
        assert told[-1]["detail"] == "the generation was cancelled"
        assert not any("images" in event for event in told)

    def test_an_unknown_request(self, client: fal_client.SyncClient) -> None:
        with pytest.raises(FalClientHTTPError) as caught:
            client.status(APP, "unknown")
        assert caught.value.status_code == 404


class TestAsync:
    async def test_stream(self, async_client: fal_client.AsyncClient) -> None:
        check_stream([event async for event in async_client.stream(APP, ARGUMENTS)])

    async def test_run(self, async_client: fal_client.AsyncClient) -> None:
        check_output(await async_client.run(APP, ARGUMENTS))

    async def test_submit_and_get(self, async_client: fal_client.AsyncClient) -> None:
        handle = await async_client.submit(APP, ARGUMENTS, priority="low")
        check_output(await handle.get())
        check_output(await async_client.result(APP, handle.request_id))

    async def test_subscribe(self, async_client: fal_client.AsyncClient) -> None:
        updates: list[fal_client.Status] = []
        check_output(await async_client.subscribe(APP, ARGUMENTS, interval=0.02, on_queue_update=updates.append))
        assert isinstance(updates[-1], fal_client.Completed)

    async def test_cancel(self, async_client: fal_client.AsyncClient) -> None:
        handle = await async_client.submit(APP, LONG)
        await handle.cancel()
        statuses = [status async for status in handle.iter_events(interval=0.02)]
        assert isinstance(statuses[-1], fal_client.Completed)
        assert statuses[-1].error_type == "cancelled"

    async def test_realtime(self, async_client: fal_client.AsyncClient) -> None:
        async with async_client.realtime(APP) as connection:
            await connection.send(ARGUMENTS)
            message = await connection.recv()
            while message is not None and message["step"] < 6:
                message = await connection.recv()
            assert message is not None
            assert size_of(message["images"][0]["content"]) == (64, 64)

    async def test_many_at_once(self, async_client: fal_client.AsyncClient) -> None:
        outputs = await asyncio.gather(*(async_client.run(APP, {**ARGUMENTS, "seed": seed}) for seed in range(4)))
        assert [output["seed"] for output in outputs] == [0, 1, 2, 3]
