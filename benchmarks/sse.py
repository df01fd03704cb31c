"""Cheap reading of server-sent events: the load client shares its machine with what it measures."""

import msgspec


class EventParser:
    """Splits received bytes into the data of events. Reads the framing of the service: lines end with one LF."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of each event that `chunk` completes; comments and events without data give nothing."""
        search_from = max(len(self._buffer) - 1, 0)
        self._buffer += chunk
        events = []
        while (end := self._buffer.find(b"\n\n", search_from)) >= 0:
            block = bytes(self._buffer[:end])
            del self._buffer[: end + 2]
            search_from = 0
            if data := _data_of(block):
                events.append(data)
        return events


def _data_of(block: bytes) -> bytes:
    lines = (line for line in block.split(b"\n") if line.startswith(b"data:"))
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines)


class StreamEvent(msgspec.Struct, frozen=True):
    """What the load client reads of an event of `POST /stream`; the image itself is skipped, not decoded."""

    step: int = 0
    total_steps: int = 0
    error: object = None

    @property
    def is_final(self) -> bool:
        return self.error is None and 0 < self.step == self.total_steps


decode_event = msgspec.json.Decoder(StreamEvent).decode
