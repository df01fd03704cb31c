"""One event's bytes, encoded once, however many streams they go to."""


class Frame:
    """What a stream writes for an event: as it is (`text`), and as HTTP/1.1 frames it (`chunk`), in one buffer."""

    __slots__ = ("chunk", "text")

    def __init__(self, text: bytes) -> None:
        head = b"%x\r\n" % len(text)
        self.chunk = b"".join((head, text, b"\r\n"))
        self.text = memoryview(self.chunk)[len(head) : len(head) + len(text)]

    def __len__(self) -> int:
        return len(self.text)
