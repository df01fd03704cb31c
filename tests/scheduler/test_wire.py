import asyncio
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import wire
from scheduler.messages import (
    Abort,
    Add,
    Cancelled,
    Command,
    Drain,
    Failed,
    Heartbeat,
    Loading,
    Preview,
    Report,
    Started,
)
from tests.scheduler.harness import make_params


def reader_of(data: bytes, *, is_ended: bool = True) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    if is_ended:
        reader.feed_eof()
    return reader


@pytest.mark.parametrize(
    ("message", "frame"),
    [
        (Abort("a1"), b"\x00\x00\x00\x1a\x82\xa4type\xa5Abort\xaarequest_id\xa2a1"),
        (Drain(), b"\x00\x00\x00\x0c\x81\xa4type\xa5Drain"),
        (Started("a1"), b"\x00\x00\x00\x1c\x82\xa4type\xa7Started\xaarequest_id\xa2a1"),
        (
            Heartbeat(step_counter=7, running=2),
            b"\x00\x00\x00\x27\x83\xa4type\xa9Heartbeat\xacstep_counter\x07\xa7running\x02",
        ),
    ],
)
def test_a_frame_is_a_length_and_a_tagged_map(message: Command | Report, frame: bytes) -> None:
    assert wire.encode(message) == frame


async def test_messages_come_out_as_they_went_in() -> None:
    commands: list[Command] = [Add("a", make_params(prompt="ein Boot ⛵", negative_prompt=None)), Abort("a"), Drain()]
    reader = reader_of(b"".join(map(wire.encode, commands)))
    for command in commands:
        assert await wire.read(reader, wire.COMMANDS) == command
    assert await wire.read(reader, wire.COMMANDS) is None


@given(data=st.binary(max_size=2000), text=st.text(st.characters(exclude_categories=["Cs"])), step=st.integers(0, 50))
def test_reports_come_out_as_they_went_in(data: bytes, text: str, step: int) -> None:
    reports: list[Report] = [
        Preview(text, step, 50, 64, 64, "image/jpeg", data),
        Failed(text, "engine_error", text),
        Cancelled(text),
        Loading(text),
    ]

    async def check() -> None:
        reader = reader_of(b"".join(map(wire.encode, reports)))
        for report in reports:
            assert await wire.read(reader, wire.REPORTS) == report

    asyncio.run(check())


@pytest.mark.parametrize("length", [0, 2, 4, 10])
async def test_an_end_in_mid_frame_is_an_end(length: int) -> None:
    assert await wire.read(reader_of(wire.encode(Abort("a1"))[:length]), wire.COMMANDS) is None


async def test_a_lost_connection_is_an_end() -> None:
    reader = asyncio.StreamReader()
    reader.set_exception(ConnectionResetError())
    assert await wire.read(reader, wire.COMMANDS) is None


async def test_an_absurd_length_is_refused_before_anything_is_read() -> None:
    reader = reader_of(b"GET / HTTP/1.1\r\n", is_ended=False)
    with pytest.raises(wire.WireError, match=r"a frame of 1195725856 bytes is over the limit of 67108864"):
        await wire.read(reader, wire.COMMANDS)


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", b"garbage", msgspec.msgpack.encode({"type": "Nonsense"}), wire.encode(Started("a"))[4:]]
)
async def test_what_is_no_command_is_refused(body: bytes) -> None:
    with pytest.raises(wire.WireError, match="is no message of this protocol"):
        await wire.read(reader_of(struct.pack(">I", len(body)) + body), wire.COMMANDS)


def test_a_message_over_the_limit_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_FRAME_BYTES", 100)
    with pytest.raises(wire.WireError, match="over the limit of 100"):
        wire.encode(Preview("a", 1, 2, 64, 64, "image/jpeg", bytes(101)))
