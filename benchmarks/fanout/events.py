"""The one event that everybody writes: a preview as the service tells it on `POST /stream`."""

import time

from benchmarks.fanout.stamps import Stamp, filling, stamped
from scheduler.messages import Preview
from scheduler.request import GenerateParams
from service.api.fal import encode_event
from service.generation import Event, Generation, Image

ANSWER_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def preview_frame(num_bytes: int) -> bytes:
    """With a picture of so many bytes."""
    params = GenerateParams(prompt="a red boat", width=256, height=256, num_steps=50, seed=1)
    generation = Generation("x" * 22, [Image("x" * 22 + "/0", 0, params, 1.0)], grace=0)
    data = stamped(filling(num_bytes), Stamp(due=time.monotonic(), number=1))
    return encode_event(Event(generation, 3, "preview", Preview("x", 1, 50, 256, 256, "image/jpeg", data)))


def chunk_of(frame: bytes) -> bytes:
    """As HTTP/1.1 frames it."""
    return b"%x\r\n%b\r\n" % (len(frame), frame)


def data_of(frame: bytes) -> str:
    """The JSON in it."""
    return frame.removeprefix(b"data: ").rstrip(b"\n").decode("ascii")
