from scheduler.messages import Preview
from service.api.encodings import ENCODINGS

PICTURE = Preview("a", 1, 4, 64, 64, "image/webp", b"\x00\xff")


def test_a_picture_as_text() -> None:
    written = {name: bytes(encode(PICTURE)) for name, encode in ENCODINGS.items()}
    assert written == {"hex": b'"00ff"', "base64": b'"AP8="', "url": b'"data:image/webp;base64,AP8="'}
