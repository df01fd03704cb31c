"""What a step tells: each request once, stages beside what is in none of them, counts; and what comes later."""

import dataclasses
from pathlib import Path

import pytest
import torch

from scheduler.engine import RequestOutput, StepOutput
from scheduler.messages import WorkerConfig
from scheduler.request import Request, Status
from scheduler.sdxl.aside import SideStream
from scheduler.sdxl.call_engine import CallEngine
from scheduler.sdxl.memory import Memory
from scheduler.sdxl.pace import POLL_SECONDS, Kind, Pace
from scheduler.sdxl.pictures import Pictures, Slice
from scheduler.sdxl.results import StepCounts, report
from scheduler.sdxl.step_engine import StepEngine
from scheduler.sdxl.timing import Stopwatch
from scheduler.sdxl.weights import Model, load_model
from tests.sdxl.drive import Driver, make_request
from tests.sdxl.held import HeldStreams
from tests.sdxl.oracle import Oracle, assert_all_own

DECODES = {"preview_decode", "vae_decode"}


@pytest.fixture
def config(tiny_sdxl: Path) -> WorkerConfig:
    return WorkerConfig(model=str(tiny_sdxl), device="cpu", dtype="float32")


@pytest.fixture
def model(config: WorkerConfig) -> Model:
    return load_model(config, progress=lambda _: None)


@pytest.fixture
def streams() -> HeldStreams:
    return HeldStreams()


@pytest.fixture
def pictures(model: Model, streams: HeldStreams) -> Pictures:
    """Made beside the steps."""
    aside = SideStream(streams)
    return Pictures(model, aside, Memory(aside.free_memory))


def make_slice(request: Request, steps_done: int = 1) -> Slice:
    zeros = torch.zeros(1, 4, 8, 8)
    return Slice(request, steps_done, zeros, zeros, prompt_truncated=True)


@torch.inference_mode()
def step(pictures: Pictures, slices: list[Slice], pace: Pace | None = None) -> StepOutput:
    pace = pace or Pace(pictures.aside.mark)
    pace.begin()
    return report(pictures, slices, pace, Stopwatch(), StepCounts(num_rows=2))


def test_a_step_tells_of_every_request_without_waiting_for_its_picture(pictures: Pictures) -> None:
    going, done = make_request("going"), make_request("done", num_steps=1)
    assert step(pictures, [make_slice(going), make_slice(done)]).outputs == [
        RequestOutput(going, 1, prompt_truncated=True),
        RequestOutput(done, 1, prompt_truncated=True),
    ]
    (preview,) = pictures.collect(wait=True)
    (image,) = pictures.collect(wait=True)
    assert (preview.request, preview.preview is None, preview.prompt_truncated) == (going, False, True)
    assert (image.request, image.image is None, image.prompt_truncated) == (done, False, True)


def test_decodes_show_in_the_step_after_they_are_given_out(pictures: Pictures, streams: HeldStreams) -> None:
    request = make_request(num_steps=3, preview_every=2)
    assert DECODES.isdisjoint(step(pictures, [make_slice(request, 1)]).stages)
    streams.let_all_go()
    pictures.collect(wait=False)
    assert DECODES.intersection(step(pictures, [make_slice(request, 2)]).stages) == {"preview_decode"}
    assert DECODES.isdisjoint(step(pictures, [make_slice(request, 2)]).stages)


def test_the_device_is_asked_for_its_memory_once_a_second(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    now, free = [10.0], [70, 60, 50]
    monkeypatch.setattr("scheduler.sdxl.weights.time.monotonic", lambda: now[0])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free.pop(0), 100))
    on_card = dataclasses.replace(model, device=torch.device("cuda"))
    readings = []
    for now[0] in (10.0, 10.9, 11.0, 11.5):
        readings.append(on_card.memory())
    assert readings == [(30, 100), (30, 100), (40, 100), (40, 100)]
    assert model.memory() == (0, 0)


def test_counts_and_failures_are_told(pictures: Pictures) -> None:
    failed, pace = RequestOutput(make_request("failed"), 3, error="no"), Pace(pictures.aside.mark)
    pace.begin()
    counts = StepCounts(num_rows=6, padded_rows=2, fitting_rows=4, prompt_hits=3, prompt_misses=1)
    with torch.inference_mode():
        output = report(pictures, [make_slice(make_request())], pace, Stopwatch(), counts, [failed])
    assert output.outputs[1] == failed
    assert (output.num_rows, output.padded_rows, output.fitting_rows) == (6, 2, 4)
    assert (output.prompt_hits, output.prompt_misses, output.out_of_memory) == (3, 1, 0)
    assert (output.memory_used, output.memory_total) == (0, 0)  # a CPU's memory is not the model's


def test_a_device_that_goes_on_by_itself_is_asked_what_a_step_takes(
    pictures: Pictures, streams: HeldStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program has only given it the step. Of the time that is left, the UNet has all."""
    monkeypatch.setattr("tests.sdxl.held.MILLISECONDS", 3_600_000.0)
    pace, slices = Pace(pictures.aside.mark), [make_slice(make_request(num_steps=9, preview_every=0))]
    assert step(pictures, slices, pace).duration < 3600
    streams.let_all_go()
    output = step(pictures, slices, pace)
    assert output.duration == 3600
    assert pace.seconds(Kind(num_rows=2, pixels=64 * 64)) == 3600
    assert 3000 < output.stages["unet"] <= 3600


@pytest.mark.parametrize("kind", [StepEngine, CallEngine])
def test_the_program_is_one_step_ahead_of_the_device(
    kind: type[StepEngine | CallEngine], model: Model, config: WorkerConfig
) -> None:
    streams, request = HeldStreams(), make_request(num_steps=3, preview_every=0)
    engine, started = kind(model, config, SideStream(streams)), list[int]()
    request.status = Status.RUNNING
    while len(started) < 3:
        engine.run([request], lambda _: started.append(sum(mark.is_reached for mark in streams.steps)))
    assert started == [0, 0, 2]  # a step is between two marks


@pytest.mark.parametrize(
    ("kind", "device", "seconds"),
    [(StepEngine, HeldStreams(), POLL_SECONDS), (StepEngine, None, 0.0), (CallEngine, HeldStreams(), 0.0)],
)
def test_a_batch_stays_open_while_the_device_has_enough_to_do(
    kind: type[StepEngine | CallEngine],
    device: HeldStreams | None,
    seconds: float,
    model: Model,
    config: WorkerConfig,
) -> None:
    engine = kind(model, config, None if device is None else SideStream(device))
    request = make_request(num_steps=2, preview_every=0)
    request.status = Status.RUNNING
    for _ in range(2):
        engine.run([request], lambda _: None)
    assert engine.seconds_to_spare() == seconds
    if device is not None:
        device.let_all_go()
    assert engine.seconds_to_spare() == 0.0


@pytest.mark.parametrize("kind", [StepEngine, CallEngine])
def test_stages_leave_a_gap_but_never_exceed_a_step_on_a_cpu(
    kind: type[StepEngine | CallEngine], model: Model, config: WorkerConfig
) -> None:
    engine, outputs = kind(model, config), list[StepOutput]()
    request = make_request(num_steps=2)
    request.status = Status.RUNNING
    while len(outputs) < 2:
        engine.run([request], outputs.append)
    for output in outputs:
        assert 0 < sum(output.stages.values()) <= output.duration
    assert {stage for output in outputs for stage in output.stages} >= DECODES


@pytest.mark.parametrize("batching", ["step", "call"])
def test_engines_that_work_beside_the_steps_give_the_same_pictures(
    batching: str, model: Model, tiny_sdxl: Path, tiny_oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = WorkerConfig(model=str(tiny_sdxl), batching=batching)  # type: ignore[arg-type]
    make_engine = StepEngine if batching == "step" else CallEngine
    driver = Driver(make_engine(model, config, SideStream(HeldStreams())), monkeypatch)
    requests = [make_request(f"r{seed}", seed=seed, num_steps=6, preview_every=2) for seed in range(3)]
    driver.run({0: requests})
    assert all(output.image is None for each in driver.steps for output in each.outputs)
    assert_all_own(driver, [requests], tiny_oracle)
    assert [request.status for request in requests] == [Status.FINISHED] * 3


def test_a_request_aborted_while_its_picture_is_made_gets_none(
    model: Model, config: WorkerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(StepEngine(model, config, SideStream(HeldStreams())), monkeypatch)
    requests = [make_request("aborted", num_steps=2), make_request("other", seed=1, num_steps=2)]

    def abort(steps_done: int) -> None:
        if steps_done == 2:
            assert requests[0].status is Status.DECODING
            driver.scheduler.abort("aborted")

    driver.run({0: requests}, after_step=abort)
    assert driver.traces["aborted"].image is None
    assert driver.traces["other"].image is not None
