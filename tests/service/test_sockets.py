"""What becomes of WebSocket connections: left, stalled, silent, crowded, superseded, shut down."""

import asyncio
import base64
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiohttp import WSMsgType

from service.api import sockets
from service.api.admission import MAX_BODY_BYTES
from service.api_keys import make_key
from service.generation import Generation
from service.keys import SOCKETS
from tests.service.harness import Service, body, eventually, running_service

LONG = 50
HALF_A_MEGABYTE = 500_000


def pack(**fields: object) -> bytes:
    return msgspec.msgpack.encode(body(**fields))


def live(service: Service) -> Iterator[Generation]:
    """Those that wait or run, in order of arrival."""
    under_way = service.generations.under_way
    return iter([*under_way.running.values(), *under_way.waiting.values()])


async def started(service: Service, count: int = 1) -> list[Generation]:
    await eventually(lambda: len(list(live(service))) >= count)
    return list(live(service))


@pytest.mark.parametrize("path", ["/generate", "/realtime"])
async def test_a_client_that_goes_away_frees_its_row_within_a_step(gated: Service, path: str) -> None:
    async with gated.http.ws_connect(path) as connection:
        await connection.send_json(body(num_inference_steps=LONG))
        [generation] = await started(gated)
        gated.worker.allow(1)
        await connection.receive(timeout=10)
    await eventually(lambda: generation.cancel_cause == "disconnect")
    await gated.step_until(lambda: generation.status == "cancelled")
    await eventually(lambda: not gated.worker.engine.known)
    assert gated.metric("steps_total") < LONG
    assert not gated.app[SOCKETS]
    assert gated.metric("stream_clients") == 0


async def test_a_connection_that_breaks_is_left_too(gated: Service) -> None:
    connection = await gated.http.ws_connect("/generate")
    await connection.send_json(body(num_inference_steps=LONG))
    [generation] = await started(gated)
    connection._writer.transport.abort()
    await eventually(lambda: generation.cancel_cause == "disconnect")
    await gated.step_until(lambda: generation.is_over)
    await connection.close()


async def test_a_client_that_answers_no_ping_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "HEARTBEAT_SECONDS", 0.05)
    async with running_service(gated=True) as service:
        connection = await service.http.ws_connect("/generate", autoping=False)
        await connection.send_json(body(num_inference_steps=LONG))
        [generation] = await started(service)
        assert (await connection.receive(timeout=10)).type is WSMsgType.PING
        await eventually(lambda: generation.cancel_cause == "disconnect")
        await service.step_until(lambda: generation.is_over)
        await connection.close()


async def test_a_frame_that_is_too_long_ends_the_connection(service: Service) -> None:
    async with service.http.ws_connect("/generate") as connection:
        await connection.send_str(" " * (MAX_BODY_BYTES + 1))
        message = await connection.receive(timeout=10)
        assert (message.type, connection.close_code) == (WSMsgType.CLOSE, 1009)


async def test_a_plain_get_is_told_what_is_here(service: Service) -> None:
    answer = await service.http.get("/realtime")
    assert (answer.status, answer.headers["Upgrade"]) == (426, "websocket")
    assert (await answer.json())["error_type"] == "upgrade_required"


async def test_a_request_may_supersede_the_last_one(gated: Service) -> None:
    async with gated.http.ws_connect("/realtime") as connection:
        await connection.send_bytes(pack(request_id="first", num_inference_steps=LONG))
        await connection.send_bytes(pack(request_id="second", num_inference_steps=LONG))
        first, second = await started(gated, 2)
        await gated.step_until(lambda: second.status == "running")
        await connection.send_bytes(pack(request_id="third", supersede=True, preview_every=0))
        await eventually(lambda: second.cancel_cause == "api")
        await gated.step_until(lambda: second.is_over and gated.metric("images_total") == 1)
        told = [msgspec.msgpack.decode(await connection.receive_bytes(timeout=10))["request_id"]]
        while told[-1] != "third":
            told.append(msgspec.msgpack.decode(await connection.receive_bytes(timeout=10))["request_id"])
        assert second.status == "cancelled"
        assert not first.is_over
        assert gated.metric("requests_cancelled_total", cause="api", phase="running") == 1


async def test_a_wrong_request_supersedes_nothing(gated: Service) -> None:
    async with gated.http.ws_connect("/realtime") as connection:
        await connection.send_bytes(pack(num_inference_steps=LONG))
        [generation] = await started(gated)
        await connection.send_bytes(pack(prompt="", supersede=True))
        await connection.receive_str(timeout=10)
        assert generation.cancel_cause is None


async def test_a_request_that_is_refused_supersedes_nothing(gated: Service) -> None:
    async with gated.http.ws_connect("/realtime") as connection:
        await connection.send_bytes(pack(num_inference_steps=LONG))
        [generation] = await started(gated)
        gated.generations.is_draining = True
        await connection.send_bytes(pack(supersede=True))
        assert '"error":"draining"' in await connection.receive_str(timeout=10)
        assert generation.cancel_cause is None
        gated.generations.is_draining = False
        await connection.send_bytes(pack(supersede=True))
        await eventually(lambda: generation.cancel_cause == "api")


async def test_the_last_one_may_be_finished_and_those_before_go_on(gated: Service) -> None:
    async with gated.http.ws_connect("/realtime") as connection:
        await connection.send_bytes(pack(num_inference_steps=LONG, preview_every=0))
        [first] = await started(gated)
        await connection.send_bytes(pack(request_id="last", num_inference_steps=1, preview_every=0))
        await started(gated, 2)
        await gated.step_until(lambda: gated.metric("images_total") == 1)
        assert msgspec.msgpack.decode(await connection.receive_bytes(timeout=10))["request_id"] == "last"
        await connection.send_bytes(pack(supersede=True))
        await eventually(lambda: gated.metric("requests_received_total", route="realtime") == 3)
        assert len(list(live(gated))) == 2
        assert first.cancel_cause is None


async def test_there_may_be_nothing_to_supersede(service: Service) -> None:
    async with service.http.ws_connect("/realtime") as connection:
        await connection.send_bytes(pack(supersede=True))
        assert msgspec.msgpack.decode(await connection.receive_bytes(timeout=10))["seed"] == 1


async def test_so_many_requests_at_once_and_no_more(gated: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "MAX_LIVE", 2)
    async with gated.http.ws_connect("/generate") as connection:
        for _ in range(3):
            await connection.send_json(body(num_inference_steps=LONG))
        error = await connection.receive_json(timeout=10)
        assert error["error"]["code"] == "too_many_requests"
        await connection.send_json(body(num_inference_steps=LONG, supersede=True))
        await eventually(lambda: gated.metric("requests_received_total", route="websocket") == 4)
        assert gated.metric("requests_rejected_total", reason="invalid") == 1


async def test_no_room_is_told_and_the_connection_lives_on() -> None:
    async with running_service(loaded=False) as service, service.http.ws_connect("/realtime") as connection:
        await connection.send_bytes(pack())
        assert '"error":"not_ready"' in await connection.receive_str(timeout=10)
        await service.worker.load()
        await connection.send_bytes(pack())
        assert msgspec.msgpack.decode(await connection.receive_bytes(timeout=10))["seed"] == 1


async def test_a_shutdown_says_goodbye(gated: Service) -> None:
    async with gated.http.ws_connect("/generate") as connection:
        await connection.send_json(body())
        await started(gated)
        await gated.app.shutdown()
        message = await connection.receive(timeout=10)
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1001)
        gated.worker.allow(4)


async def test_nothing_that_a_client_sends_is_logged(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    answer = await service.http.get("/generate", headers={**headers, "Sec-WebSocket-Key": "secret"})
    assert (answer.status, (await answer.json())["message"]) == (400, "bad request")
    async with service.http.ws_connect("/generate", protocols=("secret",)):
        pass
    assert "secret" not in caplog.text


async def test_a_stalled_reader_costs_little_and_still_gets_its_picture(service: Service) -> None:
    big = {"width": 1024, "height": 1024, "preview_size": 1024, "preview_quality": 100, "preview_every": 1}
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, (service.http.server.host, service.http.server.port))
        reader, writer = await asyncio.open_connection(sock=raw, limit=4096)
        writer.write(handshake() + text_frame(msgspec.json.encode(body(**big, num_inference_steps=LONG))))
        [generation] = await started(service)
        await eventually(lambda: generation.is_over)
        [connection] = service.app[SOCKETS]
        transport = connection._req.transport  # type: ignore[union-attr]
        assert transport is not None
        assert transport.get_write_buffer_size() < HALF_A_MEGABYTE
        assert service.metric("previews_dropped_total", reason="coalesced") > 0
        received = b""
        while b'{"done":true}' not in received:
            received += await reader.read(1 << 20)
        writer.close()


def handshake() -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    lines = ["GET /generate HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade"]
    return "\r\n".join([*lines, f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""]).encode()


def text_frame(data: bytes) -> bytes:
    """With a mask of zeros, and a length of two bytes (RFC 6455, section 5.2)."""
    return b"\x81\xfe" + len(data).to_bytes(2, "big") + bytes(4) + data


async def test_a_key_in_the_query_lets_in_and_its_last_request_may_be_superseded(tmp_path: Path) -> None:
    key, line = make_key("me")
    (tmp_path / "keys").write_text(line)
    async with running_service(gated=True, api_key_file=tmp_path / "keys", key_concurrency=1) as service:
        with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
            await service.http.ws_connect("/realtime")
        async with service.http.ws_connect(f"/realtime?fal_jwt_token={key}") as connection:
            await connection.send_bytes(pack(num_inference_steps=LONG))
            [generation] = await started(service)
            assert generation.owner == "me"
            await connection.send_bytes(pack())
            assert '"error":"too_many_generations"' in await connection.receive_str(timeout=10)
            await connection.send_bytes(pack(supersede=True, request_id="last", preview_every=0))
            await service.step_until(lambda: service.metric("images_total") == 1)
            while msgspec.msgpack.decode(await connection.receive_bytes(timeout=10))["request_id"] != "last":
                pass
