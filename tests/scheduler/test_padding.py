"""Numbers of rows that steps are padded to."""

import pytest

from scheduler.padding import padded, row_counts


def test_each_doubling_has_two_numbers() -> None:
    assert row_counts(32) == (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


def test_the_cap_is_always_one_of_them() -> None:
    assert row_counts(20) == (1, 2, 3, 4, 6, 8, 12, 16, 20)
    assert row_counts(2) == (1, 2)


def test_what_is_wanted_takes_their_place_up_to_the_cap() -> None:
    assert row_counts(16, wanted=(8, 4, 32)) == (4, 8, 16)


@pytest.mark.parametrize("max_rows", [2, 7, 32, 100])
def test_less_than_a_third_of_a_step_is_padding(max_rows: int) -> None:
    counts = row_counts(max_rows)
    assert all(padded(rows, counts) - rows < padded(rows, counts) / 3 for rows in range(1, max_rows + 1))


def test_rows_are_padded_to_the_next_number() -> None:
    assert [padded(rows, (2, 4, 8)) for rows in (1, 2, 3, 4, 5)] == [2, 2, 4, 4, 8]


def test_rows_beyond_the_last_number_are_not_padded() -> None:
    assert padded(9, (2, 4, 8)) == 9
    assert padded(9, ()) == 9
