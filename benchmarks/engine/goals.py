"""What a benchmark is meant to reach, beside what it measured."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from benchmarks.comparison import Range
from benchmarks.tables import table

Unit = Literal["%", "x", "ms", "KiB"]


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure over rounds, and its bound: `at_least` or `at_most`, neither for one that is only told.

    Shares are fractions of 1 with the unit `%`, ratios have the unit `x`. `only_with` names the hardware or the load
    that the bound is meant for, where this is not it.
    """

    what: str
    measured: Range
    at_least: float | None = None
    at_most: float | None = None
    unit: Unit = "x"
    only_with: str | None = None

    @property
    def is_met(self) -> bool | None:
        """By the median over rounds; None where nothing is asked for."""
        if self.only_with is not None:
            return None
        if self.at_least is not None:
            return self.measured.median >= self.at_least
        return None if self.at_most is None else self.measured.median <= self.at_most

    @property
    def bound(self) -> str:
        """The bound in words."""
        suffix = f" with {self.only_with}" if self.only_with else ""
        if self.at_least is not None:
            return f"at least {self._format(self.at_least)}{suffix}"
        return "" if self.at_most is None else f"at most {self._format(self.at_most)}{suffix}"

    @property
    def figure(self) -> str:
        """The median, with the extremes in brackets where there are several."""
        low, middle, high = (
            self._format(value) for value in (self.measured.min, self.measured.median, self.measured.max)
        )
        return middle if low == high else f"{middle} ({low} to {high})"

    def _format(self, value: float) -> str:
        match self.unit:
            case "%":
                return f"{value * 100:.3g} %"
            case "x":
                return f"{value:.2f}x"
        return f"{value:.3g} {self.unit}"


MET = {True: "yes", False: "**no**", None: ""}


def goals_table(goals: Iterable[Goal]) -> str:
    return table(
        ("figure", "measured", "goal", "met"),
        [(goal.what, goal.figure, goal.bound, MET[goal.is_met]) for goal in goals],
    )
