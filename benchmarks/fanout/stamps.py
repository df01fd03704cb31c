"""Previews that tell when they were sent, and are otherwise as long and as random as a picture's bytes."""

import base64
import random
import time

DIGITS = 32  # of nanoseconds; as base64 they are whole bytes
MARK = b"base64,"

NANOSECOND = 1e-9


def stamped(filling: bytes) -> bytes:
    """`filling`, its first bytes replaced by this moment."""
    stamp = base64.b64decode(b"%0*d" % (DIGITS, time.monotonic_ns()))
    return stamp + filling[len(stamp) :]


def filling(num_bytes: int) -> bytes:
    """The same at every call."""
    return random.Random(0).randbytes(num_bytes)


def sent_at(event: bytes) -> float | None:
    """Monotonic seconds, the same clock in all processes of a machine; None of an event without a data URL."""
    found = event.find(MARK, 0, 200)
    if found < 0:
        return None
    began = found + len(MARK)
    return int(event[began : began + DIGITS]) * NANOSECOND
