import base64
import time

import pytest

from benchmarks.fanout.events import chunk_of, data_of, preview_frame
from benchmarks.fanout.stamps import Stamp, filling, stamp_of, stamped
from benchmarks.sse import EventParser


def test_an_event_tells_when_its_preview_was_due() -> None:
    before = time.monotonic()
    (event,) = EventParser().feed(chunk_of(preview_frame(15_000)))
    stamp = stamp_of(event)
    assert stamp is not None
    assert stamp.number == 1
    assert before <= stamp.due <= time.monotonic()


@pytest.mark.parametrize("stamp", [Stamp(0.0, 0), Stamp(12.5, 3), Stamp(9_999_999_999.0, 999_999_999_999)])
def test_a_stamp_is_read_back(stamp: Stamp) -> None:
    assert stamp_of(b'{"url":"data:image/jpeg;base64,' + base64.b64encode(stamped(bytes(30), stamp))) == stamp


def test_an_event_without_a_picture_tells_nothing() -> None:
    assert stamp_of(b'{"status":"queued"}') is None


def test_a_stamp_leaves_the_length_as_it_is() -> None:
    assert len(filling(1000)) == len(stamped(filling(1000), Stamp(1.0, 1))) == 1000
    assert filling(1000) == filling(1000) != filling(1000)[::-1]


def test_an_event_of_a_preview_of_fifteen_thousand_bytes_has_twenty_thousand() -> None:
    frame = preview_frame(15_000)
    assert 20_000 < len(frame) < 20_300
    assert frame == f"data: {data_of(frame)}\n\n".encode()
    assert chunk_of(frame) == b"%x\r\n%b\r\n" % (len(frame), frame)
