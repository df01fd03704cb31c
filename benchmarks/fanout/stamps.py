"""Previews that tell when they were due, and are otherwise as long and as random as a picture's bytes."""

import base64
import random
from typing import NamedTuple

TIME_DIGITS, NUMBER_DIGITS = 20, 12  # of nanoseconds, and of a count: as base64, together they are whole bytes
MARK = b"base64,"

NANOSECOND = 1e-9


class Stamp(NamedTuple):
    """When a preview was due, in monotonic seconds, a clock that all processes of a machine share, and which of its
    stream's it is, counted from 1.
    """

    due: float
    number: int


def stamped(filling: bytes, stamp: Stamp) -> bytes:
    """`filling`, its first bytes replaced by the stamp."""
    digits = b"%0*d%0*d" % (TIME_DIGITS, round(stamp.due / NANOSECOND), NUMBER_DIGITS, stamp.number)
    head = base64.b64decode(digits)
    return head + filling[len(head) :]


def filling(num_bytes: int) -> bytes:
    """The same at every call."""
    return random.Random(0).randbytes(num_bytes)


def stamp_of(event: bytes) -> Stamp | None:
    """None of an event without a data URL."""
    found = event.find(MARK, 0, 200)
    if found < 0:
        return None
    began = found + len(MARK)
    middle = began + TIME_DIGITS
    return Stamp(int(event[began:middle]) * NANOSECOND, int(event[middle : middle + NUMBER_DIGITS]))
