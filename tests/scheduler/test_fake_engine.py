import threading
from collections.abc import Sequence

import pytest

from scheduler.cost import CostModel
from scheduler.engine import StepOutput
from scheduler.fake_engine import FAILING_PROMPT, RAISING_PROMPT, FakeEngine, colour_of
from scheduler.request import Request, Status
from tests.scheduler.harness import make_config, make_params


def make_running(request_id: str = "a", **changes: object) -> Request:
    return Request(request_id, make_params(**changes), status=Status.RUNNING)


def run(engine: FakeEngine, batch: Sequence[Request]) -> list[StepOutput]:
    steps: list[StepOutput] = []
    engine.run(batch, steps.append)
    return steps


def test_seeds_have_colours_of_their_own() -> None:
    assert len({colour_of(seed) for seed in range(10_000)}) == 10_000


def test_step_mode_makes_one_step_at_a_time() -> None:
    engine = FakeEngine(make_config())
    request = make_running(seed=5, num_steps=2)
    (first,), (last,) = run(engine, [request]), run(engine, [request])
    assert first.num_rows == 2
    preview, image = first.outputs[0].preview, last.outputs[0].image
    assert preview is not None
    assert image is not None
    assert tuple(image[0, 0]) == colour_of(5) != tuple(preview[0, 0])
    assert (first.outputs[0].image, last.outputs[0].preview) == (None, None)


def test_call_mode_makes_all_steps_of_those_that_still_run() -> None:
    engine = FakeEngine(make_config(batching="call"))
    stays, leaves = make_running("a"), make_running("b")
    seen: list[list[str]] = []

    def on_step(output: StepOutput) -> None:
        seen.append([result.request.id for result in output.outputs])
        leaves.status = Status.ABORTED

    engine.run([stays, leaves], on_step)
    assert seen == [["a", "b"], ["a"], ["a"], ["a"]]


def test_a_batch_that_breaks_the_contract_is_refused() -> None:
    engine = FakeEngine(make_config(max_rows=2))
    with pytest.raises(ValueError, match="one key"):
        run(engine, [make_running("a"), make_running("b", width=128)])
    with pytest.raises(ValueError, match="too many rows"):
        run(engine, [make_running("a"), make_running("b")])


def test_faults_on_request() -> None:
    engine = FakeEngine(make_config())
    (step,) = run(engine, [make_running(prompt=FAILING_PROMPT), make_running("b")])
    assert [result.error is None for result in step.outputs] == [False, True]
    with pytest.raises(RuntimeError, match="asked to raise"):
        run(engine, [make_running(prompt=RAISING_PROMPT)])


def test_a_gate_allows_each_step() -> None:
    gate = threading.Semaphore(0)
    engine = FakeEngine(make_config(), gate)
    thread = threading.Thread(target=run, args=(engine, [make_running()]))
    thread.start()
    assert engine.known == {}
    gate.release()
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert len(engine.known) == 1


def test_release_forgets_a_request_known_or_not() -> None:
    engine = FakeEngine(make_config())
    request = make_running()
    run(engine, [request])
    engine.release(request)
    engine.release(request)
    assert engine.known == {}


def test_its_step_times_are_what_it_takes() -> None:
    cost = CostModel(FakeEngine(make_config(fake_step_seconds=0.5, max_rows=6)).info)
    sizes = [64 * 64, 128 * 192, 1024 * 1024]
    assert {cost.step_seconds(rows, pixels) for rows in range(1, 7) for pixels in sizes} == {0.5}
    assert CostModel(FakeEngine(make_config()).info).step_seconds(2, 64 * 64) > 0


def test_pictures_can_be_made_beside_the_steps_one_a_permit() -> None:
    darkroom = threading.Semaphore(0)
    engine = FakeEngine(make_config(), darkroom=darkroom)
    stays, leaves = make_running("a", num_steps=2), make_running("b", num_steps=2)
    outputs = [output for _ in range(2) for step in run(engine, [stays, leaves]) for output in step.outputs]
    assert [output for output in outputs if output.preview is not None or output.image is not None] == []
    assert engine.collect(wait=False) == []

    engine.release(leaves)
    darkroom.release()
    (made,) = engine.collect(wait=False)
    assert (made.request, made.steps_done, made.preview is None) == (stays, 1, False)


def test_waiting_for_what_is_made_ends_with_the_first_picture_or_when_there_is_none() -> None:
    darkroom = threading.Semaphore(0)
    engine = FakeEngine(make_config(), darkroom=darkroom)
    assert engine.collect(wait=True) == []
    request = make_running(num_steps=2)
    run(engine, [request])
    run(engine, [request])
    threading.Thread(target=darkroom.release).start()
    assert [output.steps_done for output in engine.collect(wait=True)] == [1]
    darkroom.release()
    assert [output.steps_done for output in engine.collect(wait=True)] == [2]


@pytest.mark.parametrize(("num_rows", "halvings", "fitting_rows"), [(3, 0, None), (4, 1, 2), (8, 2, 2), (14, 2, 3)])
def test_a_batch_is_halved_until_it_fits(num_rows: int, halvings: int, fitting_rows: int | None) -> None:
    engine = FakeEngine(make_config(), fitting_rows=3)
    batch = [make_running(str(index), guidance_scale=1.0) for index in range(num_rows)]
    (step,) = run(engine, batch)
    assert (step.num_rows, step.out_of_memory, step.fitting_rows) == (num_rows, halvings, fitting_rows)
    assert {output.error for output in step.outputs} == {None}


def test_a_request_that_does_not_fit_alone_fails() -> None:
    engine = FakeEngine(make_config(), fitting_rows=1)
    (step,) = run(engine, [make_running("a"), make_running("b", guidance_scale=1.0)])
    assert [output.error and output.code for output in step.outputs] == ["out_of_memory", None]
