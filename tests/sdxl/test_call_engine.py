"""Call mode: one pipeline call for a batch, each request's slice its own."""

from typing import Any

import pytest

from scheduler.engine import Engine
from scheduler.postcard import bundled_model
from scheduler.request import Request
from tests.sdxl.conftest import LoadEngine
from tests.sdxl.drive import Driver, make_request
from tests.sdxl.oracle import Oracle, assert_all_own, distinct


def seeded(num_requests: int, **params: Any) -> list[Request]:
    prefix = "-".join(str(value) for value in params.values())
    prompts = ["a red house", "", "a tree under the moon", "far too long " * 9]
    return [
        make_request(f"{prefix}/{seed}", prompt=prompts[seed % 4], seed=seed, **params) for seed in range(num_requests)
    ]


def test_calls_equal_lone_calls(call_engine: Engine, tiny_oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [
        seeded(3, num_steps=30, guidance_scale=5.0, preview_every=7),
        seeded(4, num_steps=4, guidance_scale=0.0, width=96),
        seeded(2, num_steps=6, guidance_scale=10.0, negative_prompt=None, width=72, height=88),
        seeded(2, num_steps=5, guidance_scale=2.5, negative_prompt="", preview_every=0),
    ]
    driver = Driver(call_engine, monkeypatch)
    driver.run(dict(enumerate(groups)))
    assert_all_own(driver, groups, tiny_oracle)
    assert len(driver.steps) == 30 + 4 + 6 + 5  # a call for each group
    assert {step.num_rows for step in driver.steps} == {6, 4}
    assert all(trace.prompt_truncated == id_.endswith("/3") for id_, trace in driver.traces.items())


def test_a_call_of_postcard_equals_lone_calls(
    load_engine: LoadEngine, postcard_oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = seeded(3, width=128, height=128, preview_every=3)
    driver = Driver(load_engine(bundled_model(), batching="call"), monkeypatch)
    driver.run({0: group})
    assert_all_own(driver, [group], postcard_oracle)


def test_nobody_receives_anothers_slice(
    call_engine: Engine, tiny_oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [make_request(f"r{seed}", seed=seed, preview_every=2) for seed in range(32)]
    driver = Driver(call_engine, monkeypatch)
    driver.run({0: requests})
    assert [step.num_rows for step in driver.steps] == [16] * 4 * 4  # four calls for eight requests each
    assert_all_own(driver, [requests], tiny_oracle)
    traces = driver.traces.values()
    assert distinct([trace.image for trace in traces if trace.image is not None])
    assert all(distinct([trace.previews[step] for trace in traces]) for step in (1, 3))


def test_a_cancelled_request_is_masked(
    call_engine: Engine, tiny_oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = seeded(3, num_steps=6)
    driver = Driver(call_engine, monkeypatch)

    def cancel(steps_done: int) -> None:
        if steps_done == 2:
            driver.scheduler.abort(group[1].id)

    driver.run({0: group}, after_step=cancel)
    assert [(step.num_rows, step.padded_rows) for step in driver.steps] == [(6, 0)] * 2 + [(4, 2)] * 4
    assert len(driver.traces[group[1].id].latents) == 2
    assert_all_own(driver, [[group[0], group[2]]], tiny_oracle)


def test_a_call_that_nobody_waits_for_is_interrupted(
    call_engine: Engine, tiny_oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up, next_group = seeded(2, num_steps=30), seeded(2, num_steps=4)
    driver = Driver(call_engine, monkeypatch)

    def cancel(steps_done: int) -> None:
        if steps_done == 3:
            for request in given_up:
                driver.scheduler.abort(request.id)

    driver.run({0: given_up, 1: next_group}, after_step=cancel)
    assert len(driver.steps) == 3 + 4
    assert_all_own(driver, [next_group], tiny_oracle)  # the next call is none the worse for it
