"""Numbers of rows that steps are padded to, where the model is made ready for few shapes."""

from collections.abc import Sequence


def row_counts(max_rows: int, wanted: Sequence[int] = ()) -> tuple[int, ...]:
    """What is wanted, by default 1, 2, 3, 4, 6, 8, 12, ...; and `max_rows`.

    Two for each doubling: so less than a third of a step's rows is padding, and few numbers take their time at start.
    """
    steps = (rows * 2**power for power in range(max_rows.bit_length()) for rows in (1.0, 1.5))
    counts = wanted or [int(rows) for rows in steps if rows.is_integer()]
    return tuple(sorted({rows for rows in counts if rows < max_rows} | {max_rows}))


def padded(num_rows: int, counts: Sequence[int]) -> int:
    """The next of the counts; beyond the last, and where there are none, rows are not padded."""
    return next((count for count in counts if count >= num_rows), num_rows)
