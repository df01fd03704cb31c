"""Framing on the socket, both ends: a length of 4 bytes, big-endian, then one message as MessagePack."""

import asyncio
import struct
from typing import TypeVar

import msgspec

from scheduler.messages import Command, Report

MAX_FRAME_BYTES = 64 * 1024 * 1024

COMMANDS: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
REPORTS: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)

Message = TypeVar("Message")

_ENCODER = msgspec.msgpack.Encoder()
_LENGTH = struct.Struct(">I")


class WireError(Exception):
    """What arrived, or was to be sent, is not a message of this protocol."""


HEAD_BYTES = _LENGTH.size


def encode(message: Command | Report) -> bytes:
    body = _ENCODER.encode(message)
    _check_length(len(body))
    return _LENGTH.pack(len(body)) + body


async def read(reader: asyncio.StreamReader, decoder: msgspec.msgpack.Decoder[Message]) -> Message | None:
    """The next message, or None when the other side is gone, in the middle of a frame or between two."""
    try:
        body = await reader.readexactly(length_of(await reader.readexactly(HEAD_BYTES)))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return decode(body, decoder)


def length_of(head: bytes | memoryview) -> int:
    """Of the body that follows. Raises `WireError`."""
    (length,) = _LENGTH.unpack(head)
    _check_length(length)
    return int(length)


def decode(body: bytes | memoryview, decoder: msgspec.msgpack.Decoder[Message]) -> Message:
    """Raises `WireError`."""
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as error:
        message = f"a frame of {len(body)} bytes is no message of this protocol: {error}"
        raise WireError(message) from error


def _check_length(length: int) -> None:
    if length > MAX_FRAME_BYTES:
        raise WireError(f"a frame of {length} bytes is over the limit of {MAX_FRAME_BYTES}")
