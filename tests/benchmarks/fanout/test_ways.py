import asyncio
from urllib.parse import urlsplit

import pytest

from benchmarks.fanout.events import chunk_of, preview_frame
from benchmarks.fanout.readers import POST
from benchmarks.fanout.ways import WAYS
from tests.service.harness import eventually

FRAME = preview_frame(15_000)


@pytest.mark.parametrize("name", WAYS)
async def test_all_who_listen_get_the_same_bytes(name: str) -> None:
    way = WAYS[name](FRAME)
    async with asyncio.timeout(20), way.serving():
        target = urlsplit(way.url)
        listeners = [await asyncio.open_connection(target.hostname, target.port, limit=1 << 20) for _ in range(2)]
        for reader, writer in listeners:
            writer.write(POST)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"chunked" in head
        await eventually(lambda: way.num_listening == 2)
        await way.send()
        for reader, writer in listeners:
            assert await reader.readexactly(len(chunk_of(FRAME))) == chunk_of(FRAME)
            writer.close()
