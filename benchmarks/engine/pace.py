"""How long a measurement goes on."""

import time
from collections.abc import Callable, Iterator


class Pace:
    """Hands out rounds: as many as fit into `seconds`, one at least and `most` at most.

    A further round is begun only if one as long as the longest so far would end in time. `say` hears of each.
    """

    def __init__(
        self,
        seconds: float,
        most: int,
        say: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._ends_at = clock() + seconds
        self._most = most
        self._say = say
        self._clock = clock

    @property
    def is_over(self) -> bool:
        return self._clock() >= self._ends_at

    def rounds(self) -> Iterator[int]:
        longest = 0.0
        for number in range(self._most):
            began = self._clock()
            if number and began + longest > self._ends_at:
                return
            self._say(f"round {number + 1} of up to {self._most}")
            yield number
            longest = max(longest, self._clock() - began)
