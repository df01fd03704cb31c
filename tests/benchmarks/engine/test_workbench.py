import pytest

from benchmarks.engine.workbench import Workbench, WorkbenchError
from tests.benchmarks.engine.conftest import MAX_ROWS


def test_a_request_goes_through_loop_engine_and_outbox(bench: Workbench) -> None:
    request_id = bench.submit(bench.params(num_steps=2))
    (finished,) = bench.run_out()
    assert finished.request_id == request_id
    assert (finished.width, finished.height) == (bench.size, bench.size)
    assert bench.final is not None
    assert bench.final.request.id == request_id


def test_requests_have_prompts_and_seeds_of_their_own(bench: Workbench) -> None:
    pictures = []
    for _ in range(2):
        bench.submit(bench.params(num_steps=1))
        (finished,) = bench.run_out()
        pictures.append(finished.data)
    assert pictures[0] != pictures[1]


def test_capacity_is_the_cap_in_requests(bench: Workbench) -> None:
    assert bench.capacity(bench.params()) == MAX_ROWS // 2
    assert bench.capacity(bench.params(guidance_scale=1.0)) == MAX_ROWS


def test_a_turn_is_one_step_of_the_batch(bench: Workbench) -> None:
    for _ in range(bench.capacity(bench.params()) + 3):
        bench.submit(bench.params(num_steps=3))
    turn = bench.turn()
    assert (turn.stats.batch_size, turn.stats.num_rows) == (MAX_ROWS // 2, MAX_ROWS)
    assert 0 < turn.unet < turn.stats.duration < turn.seconds
    assert bench.num_waiting == 3


def test_the_unet_watch_knows_the_latest_call(bench: Workbench) -> None:
    bench.submit(bench.params(num_steps=2))
    bench.turn()
    assert bench.unet.num_rows == 2
    before = bench.unet.seconds
    bench.unet.call_again()
    assert bench.unet.seconds > before
    assert bench.unet.num_rows == 2


def test_clear_leaves_nothing(bench: Workbench) -> None:
    for _ in range(7):
        bench.submit(bench.params(num_steps=30))
    bench.turn()
    bench.clear()
    assert bench.num_waiting == 0
    with pytest.raises(WorkbenchError, match="nothing left"):
        bench.turn()


def test_a_request_that_fails_is_an_error(bench: Workbench) -> None:
    bench.submit(bench.params(sampler="unheard of", num_steps=1))
    with pytest.raises(WorkbenchError, match="engine_error"):
        bench.run_out()
