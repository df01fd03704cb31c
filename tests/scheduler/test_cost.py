from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.cost import DEAREST_TURN, MOST_SHARES, WORTHWHILE, CostModel
from scheduler.messages import StepTime
from tests.info import make_info
from tests.scheduler.harness import make_params

SMALL, LARGE = 256 * 256, 512 * 512

Curve = Sequence[tuple[int, float]]
"""Rows and seconds."""


def make_cost(small: Curve, large: Curve = (), **changes: object) -> CostModel:
    """Measured at 256x256 and, if anything is given, at 512x512."""
    step_times = [StepTime(pixels, *point) for pixels, curve in ((SMALL, small), (LARGE, large)) for point in curve]
    return CostModel(make_info(step_times=tuple(step_times), **changes))


@st.composite
def any_cost_models(draw: st.DrawFn) -> CostModel:
    """Whatever was measured: one size or more, in any order of rows, disturbed or not."""
    times = st.builds(
        StepTime,
        pixels=st.sampled_from([64 * 64, 192 * 320, SMALL, LARGE]),
        rows=st.integers(1, 40),
        seconds=st.floats(1e-4, 100.0),
    )
    step_times = draw(st.lists(times, min_size=1, max_size=12, unique_by=lambda time: (time.pixels, time.rows)))
    return CostModel(
        make_info(
            step_times=tuple(step_times),
            max_rows=draw(st.integers(2, 40)),
            max_step_seconds=draw(st.floats(0.0, 10.0)),
        )
    )


class TestStepSeconds:
    def test_what_was_measured_is_taken_as_it_is(self) -> None:
        cost = make_cost([(2, 0.1), (8, 0.2), (32, 0.6)], [(2, 0.3), (8, 0.9)])
        assert [cost.step_seconds(rows, SMALL) for rows in (2, 8, 32)] == pytest.approx([0.1, 0.2, 0.6])
        assert [cost.step_seconds(rows, LARGE) for rows in (2, 8)] == pytest.approx([0.3, 0.9])

    def test_between_rows_it_is_linear_and_below_the_fewest_rows_are_free(self) -> None:
        cost = make_cost([(2, 0.1), (8, 0.4)])
        assert [cost.step_seconds(rows, SMALL) for rows in (1, 5, 9)] == pytest.approx([0.1, 0.25, 0.45])

    def test_padded_rows_cost_what_they_are_padded_to(self) -> None:
        cost = make_cost([(2, 0.1), (8, 0.4)], row_counts={SMALL: (2, 4, 6)})
        assert [cost.step_seconds(rows, SMALL) for rows in (1, 3, 5, 7)] == pytest.approx([0.1, 0.2, 0.3, 0.35])
        assert cost.step_seconds(3, 4 * SMALL) == pytest.approx(4 * 0.15)

    def test_a_cap_below_what_rows_are_padded_to_is_the_most(self) -> None:
        cost = make_cost([(2, 0.1), (8, 0.4)], row_counts={SMALL: (8,)}, max_rows=6)
        assert [cost.step_seconds(rows, SMALL) for rows in (1, 6, 8)] == pytest.approx([0.3, 0.3, 0.3])

    def test_more_rows_than_the_cap_cost_what_the_cap_costs(self) -> None:
        cost = make_cost([(2, 0.1), (8, 0.4)], max_rows=8)
        assert [cost.step_seconds(rows, SMALL) for rows in (8, 9, 40)] == pytest.approx([0.4, 0.4, 0.4])

    def test_a_single_point_is_a_line_through_the_origin(self) -> None:
        assert make_cost([(2, 0.1)]).step_seconds(6, SMALL) == pytest.approx(0.3)

    def test_a_single_size_goes_with_the_pixels(self) -> None:
        assert make_cost([(2, 0.1)]).step_seconds(2, 2 * SMALL) == pytest.approx(0.2)

    @pytest.mark.parametrize(("side", "seconds"), [(128, 0.0775), (256, 0.1), (384, 0.1375), (512, 0.19), (1024, 0.55)])
    def test_between_and_beyond_sizes_it_is_linear_in_pixels(self, side: int, seconds: float) -> None:
        """A fixed part of 70 ms, and as much as that and 3/7 more for each 512x512."""
        cost = make_cost([(2, 0.1)], [(2, 0.19)])
        assert cost.step_seconds(2, side**2) == pytest.approx(seconds)

    def test_below_the_smallest_size_it_is_at_least_in_proportion(self) -> None:
        """A line through these would be at nothing where pixels are left."""
        cost = make_cost([(2, 0.1)], [(2, 0.8)])
        assert [cost.step_seconds(2, side**2) for side in (64, 128, 256)] == pytest.approx([0.00625, 0.025, 0.1])

    def test_a_disturbed_measurement_does_not_count(self) -> None:
        cost = make_cost([(2, 0.1), (4, 9.0), (8, 0.2), (16, 0.3)], [(2, 0.4), (4, 0.5), (8, 0.15), (16, 1.0)])
        assert [cost.step_seconds(rows, LARGE) for rows in (2, 4, 8, 16)] == pytest.approx([0.15, 0.15, 0.15, 1.0])
        assert [cost.step_seconds(rows, SMALL) for rows in (2, 4, 8, 16)] == pytest.approx([0.1, 0.15, 0.15, 0.3])

    @given(any_cost_models(), st.integers(64, 1024), st.integers(64, 1024))
    def test_it_is_positive_and_grows_with_the_rows(self, cost: CostModel, width: int, height: int) -> None:
        seconds = [cost.step_seconds(rows, width * height) for rows in range(1, cost.max_rows(width * height) + 1)]
        assert seconds[0] > 0
        assert seconds == sorted(seconds)

    @given(any_cost_models(), st.integers(64, 512), st.integers(64, 512))
    def test_it_grows_with_the_pixels(self, cost: CostModel, side: int, other_side: int) -> None:
        smaller, larger = sorted([side, other_side])
        assert cost.step_seconds(2, smaller**2) <= cost.step_seconds(2, larger**2) * (1 + 1e-9)


class TestMaxRows:
    def test_a_batch_grows_to_where_more_rows_stop_to_pay(self) -> None:
        """8 rows cost as much as one; from there on, each costs as much as the next."""
        cost = make_cost([(1, 0.8), (8, 0.8), (32, 3.2)], max_step_seconds=0.0)
        assert (cost.knee(SMALL), cost.max_rows(SMALL)) == (8, 8)

    def test_and_on_while_a_step_stays_short(self) -> None:
        assert make_cost([(1, 0.8), (8, 0.8), (32, 3.2)], max_step_seconds=1.65).max_rows(SMALL) == 16

    def test_never_over_the_models_bound(self) -> None:
        cost = make_cost([(1, 0.8), (8, 0.8), (32, 3.2)], max_rows=6, max_step_seconds=9.0)
        assert cost.max_rows(SMALL) == 6

    def test_a_request_with_guidance_always_fits(self) -> None:
        cost = make_cost([(1, 1.0), (32, 32.0)], max_step_seconds=0.0)
        assert (cost.knee(SMALL), cost.max_rows(SMALL)) == (1, 2)

    def test_it_is_smaller_for_larger_pictures(self) -> None:
        cost = make_cost([(1, 0.1), (32, 3.2)], [(1, 0.4), (32, 12.8)], max_step_seconds=1.0)
        assert [cost.max_rows(pixels) for pixels in (SMALL, 2 * SMALL, LARGE)] == [10, 5, 2]

    def test_where_memory_ran_out_a_full_batch_is_smaller_and_its_rows_are_dearer(self) -> None:
        cost = make_cost([(1, 0.1), (16, 0.4)], [(1, 0.4), (16, 1.6)], max_rows=16, max_step_seconds=9.0)
        assert cost.row_seconds(SMALL) == pytest.approx(0.025)
        cost.limit_rows(SMALL, 10)
        assert [cost.max_rows(pixels) for pixels in (SMALL // 2, SMALL, 2 * SMALL, LARGE)] == [16, 10, 5, 2]
        assert cost.row_seconds(SMALL) == pytest.approx(0.028)

    @given(any_cost_models(), st.integers(64, 1024))
    def test_it_lies_between_the_knee_and_the_models_bound(self, cost: CostModel, side: int) -> None:
        knee, max_rows = cost.knee(side**2), cost.max_rows(side**2)
        assert 1 <= knee <= max_rows <= 40
        assert max_rows >= 2
        rates = [rows / cost.step_seconds(rows, side**2) for rows in range(1, max_rows + 1)]
        assert rates[knee - 1] >= WORTHWHILE * max(rates)


class TestRequests:
    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"guidance_scale": 1.0, "num_steps": 1}, 1.0),
            ({"guidance_scale": 5.0, "num_steps": 1}, 2.0),
            ({"guidance_scale": 5.0, "num_steps": 20}, 40.0),
            ({"guidance_scale": 1.0, "num_steps": 10, "width": 128}, 5.0),
            ({"guidance_scale": 1.0, "num_steps": 10, "width": 512, "height": 512}, 40.0),
        ],
    )
    def test_cost_counts_row_steps_at_the_models_own_size(self, changes: dict[str, float], expected: float) -> None:
        params = make_params(**{"width": 256, "height": 256, **changes})
        assert CostModel(make_info()).request_cost(params) == pytest.approx(expected)

    @given(any_cost_models(), st.integers(1, 50), st.sampled_from([1.0, 5.0]))
    def test_at_its_own_size_whatever_was_measured(self, cost: CostModel, steps: int, guidance_scale: float) -> None:
        params = make_params(width=256, height=256, num_steps=steps, guidance_scale=guidance_scale)
        assert cost.request_cost(params) == params.num_rows * steps

    def test_a_worker_does_it_in_full_batches(self) -> None:
        cost = make_cost([(1, 0.1), (32, 0.32)])
        assert cost.seconds_for(100.0) == pytest.approx(1.0)

    def test_the_least_time_is_that_of_its_own_rows_alone(self) -> None:
        cost = make_cost([(1, 0.1), (2, 0.15), (32, 3.0)])
        params = make_params(width=256, height=256, num_steps=20, guidance_scale=5.0)
        assert cost.seconds_alone(params) == pytest.approx(3.0)


class TestTurns:
    def test_a_full_batch_pays_one_turn_and_fewer_rows_pay_more(self) -> None:
        """A row takes 0.05 s in a full batch, 0.06, 0.1 and 0.2 s in those with fewer."""
        cost = make_cost([(2, 0.4), (6, 0.6), (15, 0.9), (32, 1.6)], max_step_seconds=9.0)
        charges = [cost.turn_charge(rows, rows, SMALL) for rows in (32, 15, 6, 2)]
        assert charges == pytest.approx([1.0, 1.44, 2.0, 2.0])

    def test_as_many_batches_as_are_wanted_share_what_is_paid(self) -> None:
        cost = make_cost([(1, 0.1), (32, 1.6)], max_step_seconds=9.0)
        charges = [cost.turn_charge(32, wanted, SMALL) for wanted in (32, 48, 64, 128, 1000)]
        assert charges == pytest.approx([1.0, 1 / 1.5, 1 / 2, 1 / 4, 1 / 4])

    @given(any_cost_models(), st.integers(1, 40), st.integers(0, 500), st.integers(64, 1024))
    def test_it_has_bounds(self, cost: CostModel, num_rows: int, num_waiting: int, side: int) -> None:
        num_rows = min(num_rows, cost.max_rows(side**2))
        charge = cost.turn_charge(num_rows, num_rows + num_waiting, side**2)
        assert 1 / MOST_SHARES <= charge <= DEAREST_TURN
