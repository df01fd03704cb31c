"""What the tables of all stages share."""

from collections.abc import Sequence
from statistics import median


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(values: Sequence[float]) -> str:
    """How far the extremes lie from the median, in percent."""
    middle = median(values)
    return f"{min(values) / middle - 1:+.1%} to {max(values) / middle - 1:+.1%}"


def milliseconds(values: Sequence[float]) -> str:
    """The median, and the extremes where there are several."""
    low, middle, high = (f"{value * 1000:.1f}" for value in (min(values), median(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"
