import time

from benchmarks.fanout.events import chunk_of, data_of, preview_frame
from benchmarks.fanout.stamps import filling, sent_at, stamped
from benchmarks.sse import EventParser


def test_an_event_tells_when_its_preview_was_made() -> None:
    before = time.monotonic()
    (event,) = EventParser().feed(chunk_of(preview_frame(15_000)))
    sent = sent_at(event)
    assert sent is not None
    assert before <= sent <= time.monotonic()


def test_an_event_without_a_picture_tells_nothing() -> None:
    assert sent_at(b'{"status":"queued"}') is None


def test_a_stamp_leaves_the_length_as_it_is() -> None:
    assert len(filling(1000)) == len(stamped(filling(1000))) == 1000
    assert filling(1000) == filling(1000) != filling(1000)[::-1]


def test_an_event_of_a_preview_of_fifteen_thousand_bytes_has_twenty_thousand() -> None:
    frame = preview_frame(15_000)
    assert 20_000 < len(frame) < 20_300
    assert frame == f"data: {data_of(frame)}\n\n".encode()
    assert chunk_of(frame) == b"%x\r\n%b\r\n" % (len(frame), frame)
