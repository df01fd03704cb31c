"""Step mode: whatever shares the batch, each request gets what a pipeline call of its own would give."""

import pytest
import torch

from scheduler.engine import Engine, StepOutput
from scheduler.postcard import bundled_model
from scheduler.request import Request, Status
from scheduler.sdxl.prompts import PromptEncoder
from tests.sdxl.conftest import LoadEngine
from tests.sdxl.drive import Driver, Trace, make_request
from tests.sdxl.oracle import Oracle, assert_all_own, distinct, error_of_range

# (before which turn, parameters): joining late, 4 to 30 steps, guidance 0 to 10, three sizes of which one has latents
# that the UNet cannot halve evenly, negative prompts given, empty and none.
MIXED = [
    (0, {"prompt": "a red house", "num_steps": 30, "guidance_scale": 5.0, "preview_every": 7}),
    (0, {"prompt": "a blue boat", "num_steps": 4, "guidance_scale": 0.0}),
    (0, {"prompt": "snow", "width": 96, "num_steps": 9, "guidance_scale": 10.0, "negative_prompt": None}),
    (1, {"prompt": "", "num_steps": 12, "guidance_scale": 1.0, "negative_prompt": "rain"}),
    (2, {"prompt": "a tree", "width": 72, "height": 88, "num_steps": 5, "guidance_scale": 2.5, "negative_prompt": ""}),
    (3, {"prompt": "a moon", "width": 96, "num_steps": 4, "guidance_scale": 1.01, "preview_every": 0}),
    (5, {"prompt": "a red house", "num_steps": 7, "guidance_scale": 7.5, "negative_prompt": None, "preview_every": 3}),
    (9, {"prompt": "a red house", "num_steps": 6, "guidance_scale": 7.5, "negative_prompt": "", "preview_every": 2}),
    (9, {"prompt": "sea", "width": 72, "height": 88, "num_steps": 8, "guidance_scale": 0.5, "negative_prompt": None}),
    (20, {"prompt": "far too long " * 9, "num_steps": 5, "guidance_scale": 3.0}),
]


def mixed_requests() -> dict[int, list[Request]]:
    joins: dict[int, list[Request]] = {}
    for index, (turn, params) in enumerate(MIXED):
        joins.setdefault(turn, []).append(make_request(f"r{index}", seed=1000 + index, **params))
    return joins


def test_a_mixed_batch_equals_lone_calls(
    step_engine: Engine, tiny_oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, joins = Driver(step_engine, monkeypatch), mixed_requests()
    driver.run(joins)
    assert_all_own(driver, joins.values(), tiny_oracle)
    assert max(step.num_rows for step in driver.steps) >= 5  # they did share calls
    assert [id_ for id_, trace in driver.traces.items() if trace.prompt_truncated] == ["r9"]


def test_a_mixed_batch_of_postcard_equals_lone_calls(
    load_engine: LoadEngine, postcard_oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    joins = {
        0: [
            make_request("a", prompt="a red house at sunset", width=128, height=128, num_steps=6, seed=1),
            make_request("b", prompt="a boat", width=128, height=128, guidance_scale=0.0, seed=2),
        ],
        1: [make_request("c", prompt="a tree", width=192, height=120, negative_prompt=None, seed=3)],
        2: [
            make_request("d", prompt="a cactus", width=128, height=128, guidance_scale=8.0, negative_prompt="", seed=4)
        ],
    }
    driver = Driver(load_engine(bundled_model()), monkeypatch)
    driver.run(joins)
    assert_all_own(driver, joins.values(), postcard_oracle)


def test_nobody_receives_anothers_slice(
    step_engine: Engine, tiny_oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """32 at once, alike but for the seed: every preview and every picture is one's own and no one else's."""
    requests = [make_request(f"r{seed}", seed=seed, preview_every=2) for seed in range(32)]
    driver = Driver(step_engine, monkeypatch, max_rows=64)
    driver.run({0: requests})
    assert [step.num_rows for step in driver.steps] == [64] * 4
    assert_all_own(driver, [requests], tiny_oracle)
    traces = driver.traces.values()
    assert distinct([trace.image for trace in traces if trace.image is not None])
    assert all(distinct([trace.previews[step] for trace in traces]) for step in (1, 3))


def test_prompts_are_looked_up_when_a_request_joins(step_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(step_engine, monkeypatch)
    twins = [make_request(f"r{seed}", prompt="a new lamp", negative_prompt="a new shade", seed=seed) for seed in (1, 2)]
    late = make_request("late", prompt="a new lamp", negative_prompt=None)
    driver.run({0: twins, 2: [late]})
    lookups = [(step.prompt_hits, step.prompt_misses) for step in driver.steps]
    assert lookups == [(2, 2), (0, 0), (1, 0), (0, 0), (0, 0), (0, 0)]


def start_after(engine: Engine, expected: Request, request: Request) -> tuple[StepOutput, StepOutput]:
    """The steps in which the one starts while the other is expected, and in which that one starts."""
    steps: list[StepOutput] = []
    engine.expect([expected])
    for each in (request, expected):
        each.status = Status.RUNNING
        engine.run([each], steps.append)
        engine.release(each)
    first, second = steps
    return first, second


def test_prompts_of_those_who_wait_are_encoded_with_others(
    step_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []
    embed = PromptEncoder._embed

    def note(encoder: PromptEncoder, texts: list[str]) -> object:
        calls.append(texts)
        return embed(encoder, texts)

    monkeypatch.setattr(PromptEncoder, "_embed", note)
    requests = [make_request(name, prompt=f"a {name} lamp", negative_prompt=None) for name in ("second", "first")]
    first, second = start_after(step_engine, *requests)
    assert calls == [["a first lamp", "a second lamp"]]
    assert [(step.prompt_hits, step.prompt_misses) for step in (first, second)] == [(0, 1), (0, 1)]


def test_a_prompt_at_fault_fails_nobody_else(step_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    embed = PromptEncoder._embed

    def stumble(encoder: PromptEncoder, texts: list[str]) -> object:
        if "a bad lamp" in texts:
            raise RuntimeError("it is bad")
        return embed(encoder, texts)

    monkeypatch.setattr(PromptEncoder, "_embed", stumble)
    requests = [make_request(name, prompt=f"a {name} lamp", negative_prompt=None) for name in ("bad", "good")]
    first, second = start_after(step_engine, *requests)
    assert [output.error for output in first.outputs] == [None]
    assert [output.error for output in second.outputs] == ["RuntimeError: it is bad"]


def test_where_memory_does_not_hold_expected_prompts_the_others_start_all_the_same(
    step_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed = PromptEncoder._embed

    def embed_one(encoder: PromptEncoder, texts: list[str]) -> object:
        if len(texts) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return embed(encoder, texts)

    monkeypatch.setattr(PromptEncoder, "_embed", embed_one)
    requests = [make_request(name, prompt=f"a dear {name} lamp", negative_prompt=None) for name in ("second", "first")]
    steps = start_after(step_engine, *requests)
    assert [[output.error for output in step.outputs] for step in steps] == [[None], [None]]
    assert [step.out_of_memory for step in steps] == [0, 0]


def test_a_request_that_leaves_changes_nothing_for_the_others(
    step_engine: Engine, tiny_oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [make_request(f"r{seed}", seed=seed, num_steps=6) for seed in range(3)]
    driver = Driver(step_engine, monkeypatch)

    def abort_after_second_step(steps_done: int) -> None:
        if steps_done == 2:
            driver.scheduler.abort("r1")

    driver.run({0: requests}, abort_after_second_step)
    assert requests[1].status is Status.ABORTED
    assert [step.num_rows for step in driver.steps] == [6, 6, 4, 4, 4, 4]
    assert len(driver.traces["r1"].latents) == 2
    assert_all_own(driver, [[requests[0], requests[2]]], tiny_oracle)


def test_a_released_request_starts_anew(step_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, request = Driver(step_engine, monkeypatch), make_request()
    trace = driver.traces[request.id] = Trace()
    for _ in range(2):
        step_engine.run([request], lambda _: None)
        step_engine.release(request)
    step_engine.release(request)  # unknown by now, and no matter
    assert error_of_range(trace.latents[1], trace.latents[0]) == 0.0
