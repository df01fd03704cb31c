import threading
from collections.abc import Sequence

import pytest

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
