import msgspec
import pytest

from benchmarks.sse import EventParser, decode_event

STREAM = (
    b": keep-alive\n"
    b'data: {"step":1,"total_steps":2}\n\n'
    b'id: 7.2\nevent: preview\ndata:{"step":2,"total_steps":2}\n\n'
    b"retry: 3000\n\n"
    b"data: one\ndata: two\n\n"
)
EVENTS = [b'{"step":1,"total_steps":2}', b'{"step":2,"total_steps":2}', b"one\ntwo"]


@pytest.mark.parametrize("chunk_bytes", [1, 2, 7, 64, len(STREAM)])
def test_events_are_the_same_however_the_stream_is_cut(chunk_bytes: int) -> None:
    parser = EventParser()
    chunks = (STREAM[at : at + chunk_bytes] for at in range(0, len(STREAM), chunk_bytes))
    assert [event for chunk in chunks for event in parser.feed(chunk)] == EVENTS


def test_an_event_without_its_blank_line_is_not_given() -> None:
    assert EventParser().feed(b"data: half\n") == []


def test_final_image_is_told_from_previews_and_errors() -> None:
    assert decode_event(b'{"step":2,"total_steps":2,"image":{"url":"data:,"}}').is_final
    assert not decode_event(b'{"step":1,"total_steps":2}').is_final
    failed = decode_event(b'{"step":2,"total_steps":2,"error":{"code":"worker_lost"}}')
    assert not failed.is_final
    assert failed.error is not None


def test_what_is_not_an_event_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_event(b"[DONE]")
