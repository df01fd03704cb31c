"""Clients that read event streams, each behind the same small interface."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any, Protocol

import aiohttp
import httpx
from aiohttp_sse_client2.client import EventSource  # type: ignore[import-untyped]
from httpx_sse import aconnect_sse

from tests.service.harness import SentEvent, parse_event
from tests.tools import require_tool

TIMEOUT_SECONDS = 60.0
NO_HEADERS: Mapping[str, str] = {}


class Watch(Protocol):
    """The events as they come: of a GET without a body, else of a POST."""

    def __call__(
        self, url: str, body: Mapping[str, Any] | None, headers: Mapping[str, str] = NO_HEADERS
    ) -> AbstractAsyncContextManager[AsyncIterator[SentEvent]]: ...


@asynccontextmanager
async def curl(
    url: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] = NO_HEADERS
) -> AsyncIterator[AsyncIterator[SentEvent]]:
    data = ["-H", "Content-Type: application/json", "-d", json.dumps(body)] if body is not None else []
    for name, value in headers.items():
        data += ["-H", f"{name}: {value}"]
    command = (require_tool("curl"), "--silent", "--show-error", "--no-buffer", "--fail", *data, url)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, limit=2**22)
    assert process.stdout is not None
    try:
        yield _blocks(process.stdout)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _blocks(output: asyncio.StreamReader) -> AsyncIterator[SentEvent]:
    while True:
        try:
            block = await output.readuntil(b"\n\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return
        yield parse_event(block[:-2].decode("ascii"))


@asynccontextmanager
async def httpx_sse(
    url: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] = NO_HEADERS
) -> AsyncIterator[AsyncIterator[SentEvent]]:
    method = "GET" if body is None else "POST"
    async with (
        httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as client,
        aconnect_sse(client, method, url, json=body, headers=dict(headers)) as source,
    ):
        yield (SentEvent(event.id or None, event.event, event.data) async for event in source.aiter_sse())


@asynccontextmanager
async def aiohttp_sse_client(
    url: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] = NO_HEADERS
) -> AsyncIterator[AsyncIterator[SentEvent]]:
    method = "GET" if body is None else "POST"
    async with (
        aiohttp.ClientSession() as session,
        EventSource(
            url,
            option={"method": method},
            reconnection_time=timedelta(0),
            session=session,
            json=body,
            headers=dict(headers),
        ) as source,
    ):
        yield (SentEvent(event.last_event_id or None, event.type, event.data) async for event in source)


WATCHES: Mapping[str, Watch] = {
    "curl": curl,
    "httpx-sse": httpx_sse,
    "aiohttp-sse-client2": aiohttp_sse_client,
}
