"""How fast a worker really is, against what was foreseen of its steps."""

import math
from dataclasses import dataclass

HORIZON_SECONDS = 10.0  # of foreseen time: steps that lie further back count little
TRUST_SECONDS = 1.0  # of foreseen time, for which the calibration counts as if it had been observed


@dataclass(slots=True)
class Pace:
    _foreseen: float = TRUST_SECONDS
    _taken: float = TRUST_SECONDS

    def observe(self, foreseen: float, taken: float) -> None:
        """Adds a step, with the seconds that were foreseen for it and those it took."""
        kept = math.exp(-foreseen / HORIZON_SECONDS)
        self._foreseen = kept * self._foreseen + foreseen
        self._taken = kept * self._taken + taken

    @property
    def ratio(self) -> float:
        """By which foreseen seconds are to be multiplied."""
        return self._taken / self._foreseen
