"""What one API key may ask for: so many generations and open streams at once, and so much work a second."""

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from service.errors import ApiError

BURST_SECONDS = 60.0  # work that may be asked for at once, after a pause
RETRY_SECONDS = 2  # when to come back while too many generations are under way, or too many streams open


@dataclass(slots=True)
class _Bucket:
    level: float
    filled_at: float


class KeyLimits:
    """Two caps and a token bucket for each key. `rate` is in cost a second; 0 for any means that there is no limit.

    A request may draw more than the bucket holds, however dear it is; the next one then waits until that is made up
    for. `clock` gives monotonic seconds.
    """

    def __init__(
        self, concurrency: int, rate: float, streams: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._concurrency = concurrency
        self._rate = rate
        self._streams = streams
        self._num_open: Counter[str] = Counter()  # streams, by key
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def check(self, name: str, under_way: int) -> None:
        """Raises `ApiError` 429 where the key has as many generations under way as it may, or an empty bucket."""
        if self._concurrency and under_way >= self._concurrency:
            message = f"this key may have {self._concurrency} generations at once; wait for one, or cancel one"
            raise _too_many("too_many_generations", message, RETRY_SECONDS)
        if self._rate and (level := self._bucket(name).level) <= 0:
            message = "this key has asked for more work than it may; try again later"
            raise _too_many("rate_limit", message, math.floor(-level / self._rate) + 1)

    def charge(self, name: str, cost: float) -> None:
        if self._rate:
            self._bucket(name).level -= cost

    def check_streams(self, name: str, *, resumes: bool = False) -> None:
        """Raises `ApiError` 429 where the key has as many streams open as it may.

        One that resumes another may go beyond, up to twice as many: the other may be dead and not yet known to be.
        """
        most = self._streams * (2 if resumes else 1)
        if self._streams and self._num_open[name] >= most:
            message = f"this key may have {self._streams} streams open at once; close one first"
            raise _too_many("too_many_streams", message, RETRY_SECONDS)

    def open_stream(self, name: str, *, resumes: bool = False) -> None:
        """Raises as `check_streams`."""
        self.check_streams(name, resumes=resumes)
        self._num_open[name] += 1

    def close_stream(self, name: str) -> None:
        self._num_open[name] -= 1

    def _bucket(self, name: str) -> _Bucket:
        """Filled up to now."""
        now, most = self._clock(), self._rate * BURST_SECONDS
        bucket = self._buckets.setdefault(name, _Bucket(most, now))
        bucket.level = min(most, bucket.level + (now - bucket.filled_at) * self._rate)
        bucket.filled_at = now
        return bucket


def _too_many(code: str, message: str, seconds: int) -> ApiError:
    """429: come back in so many seconds."""
    return ApiError.plain(429, code, message, {"Retry-After": str(seconds)})
