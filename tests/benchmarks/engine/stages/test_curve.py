import pytest

from benchmarks.engine.pace import Pace
from benchmarks.engine.stages.curve import Curve, Point, measure, row_counts
from benchmarks.engine.workbench import Workbench
from tests.benchmarks.engine.conftest import MAX_ROWS


def test_error_is_of_the_median_measurement() -> None:
    point = Point(size=256, rows=8, measured=[0.1, 0.2, 0.9], predicted=0.22)
    assert point.error == pytest.approx(0.1)


def test_errors_are_told_without_their_sign() -> None:
    points = [Point(size=256, rows=rows, measured=[0.1], predicted=seconds) for rows, seconds in ((2, 0.08), (4, 0.11))]
    (goal,) = Curve(calibrated=[], sizes=[], points=points).goals
    assert (goal.measured.min, goal.measured.max) == pytest.approx((0.1, 0.2))
    assert goal.is_met is None


@pytest.mark.parametrize(
    ("most", "counts"),
    [(2, [1, 2]), (8, [1, 2, 3, 4, 6, 8]), (20, [1, 2, 3, 4, 6, 8, 12, 16, 20])],
)
def test_row_counts_reach_to_the_most(most: int, counts: list[int]) -> None:
    assert row_counts(most) == counts


def test_all_sizes_and_rows_are_measured_in_every_round(bench: Workbench) -> None:
    result = measure(bench, Pace(seconds=1e9, most=2), repeats=1)
    assert [size.size for size in result.sizes] == [48, 64, 80]
    assert [(point.size, point.rows) for point in result.points] == [
        (size.size, rows) for size in result.sizes for rows in row_counts(MAX_ROWS)
    ]
    for point in result.points:
        assert len(point.measured) == 2
        assert point.predicted == bench.cost.step_seconds(point.rows, point.size**2)
    assert result.calibrated == list(bench.engine.info.step_times)
    assert bench.unet.num_rows in row_counts(MAX_ROWS)


def test_odd_rows_are_filled_with_a_request_without_guidance(bench: Workbench) -> None:
    seen: set[int] = set()
    bench.model.pipe.unet.register_forward_pre_hook(lambda _, args: seen.add(len(args[0])))
    measure(bench, Pace(seconds=0, most=1), repeats=1)
    assert seen == set(row_counts(MAX_ROWS))


def test_table_tells_predictions_knee_and_cap(bench: Workbench) -> None:
    result = measure(bench, Pace(seconds=0, most=1), repeats=1)
    assert len(result.table().splitlines()) == 2 + len(result.points) + 2
    assert result.table().splitlines()[-1].startswith(f"Knee and cap in rows: 48x48 {result.sizes[0].knee} and ")
