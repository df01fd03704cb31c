"""What a reader notes of the previews that come."""

import base64

from benchmarks.fanout.events import chunk_of
from benchmarks.fanout.readers import Log, Reader
from benchmarks.fanout.stamps import Stamp, stamped


def event(number: int, due: float = 0.0) -> bytes:
    picture = base64.b64encode(stamped(bytes(30), Stamp(due, number)))
    return chunk_of(b'data: {"url":"data:image/jpeg;base64,%b"}\n\n' % picture)


async def test_previews_that_gave_way_are_counted_with_the_next_that_comes() -> None:
    log = Log()
    one, two = Reader(b"", log), Reader(b"", log)
    one.data_received(b"HTTP/1.1 200 OK\r\n\r\n" + event(1) + event(2))
    two.data_received(b"HTTP/1.1 200 OK\r\n\r\n" + event(3))
    one.data_received(event(5))
    assert list(log.arrivals().skipped) == [0, 0, 2, 2]


async def test_a_delay_runs_from_when_the_preview_was_due() -> None:
    log = Log()
    Reader(b"", log).data_received(b"HTTP/1.1 200 OK\r\n\r\n" + event(1, due=2.5))
    arrivals = log.arrivals()
    assert arrivals.delays == [arrivals.at[0] - 2.5]
