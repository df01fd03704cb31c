import pytest

from benchmarks.engine.flow import Flow
from benchmarks.engine.workbench import Workbench
from tests.benchmarks.engine.conftest import MAX_ROWS


@pytest.mark.parametrize("num_steps", [2, 4, 6])
def test_the_batch_is_full_and_somebody_waits_at_every_step(bench: Workbench, num_steps: int) -> None:
    window = Flow(bench, bench.params(num_steps=num_steps)).run(2 * num_steps)
    assert [turn.stats.num_rows for turn in window.turns] == [MAX_ROWS] * 2 * num_steps
    assert window.least_waiting >= 1
    assert window.mean_rows == MAX_ROWS


def test_pictures_a_second_follow_from_the_steps(bench: Workbench) -> None:
    window = Flow(bench, bench.params(num_steps=4)).run(8)
    num_images = 8 * (MAX_ROWS // 2) / 4
    assert window.images_per_second == pytest.approx(num_images / sum(turn.seconds for turn in window.turns))


def test_requests_end_evenly(bench: Workbench) -> None:
    flow = Flow(bench, bench.params(num_steps=4, preview_every=1))
    turns = flow.run(8).turns
    # Of four requests one makes its last step in each turn, and the other three are due a preview.
    assert {turn.stats.previews for turn in turns} == {3}
