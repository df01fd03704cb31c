from service.frames import Frame


def test_a_frame_is_text_and_one_chunk_of_http() -> None:
    frame = Frame(b"data: 0123456789\n\n")
    assert bytes(frame.text) == b"data: 0123456789\n\n"
    assert frame.chunk == b"12\r\ndata: 0123456789\n\n\r\n"
    assert len(frame) == 0x12


def test_both_are_one_buffer() -> None:
    frame = Frame(b"x" * 100_000)
    assert frame.text.obj is frame.chunk


def test_a_frame_that_says_nothing_is_false() -> None:
    assert not Frame(b"")
