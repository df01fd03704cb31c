"""Out of memory: work is halved, the pictures are the same, and only a request that does not fit alone fails."""

from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
import torch
from torch import Tensor

from scheduler.cost import CostModel
from scheduler.engine import Engine, Pixels
from scheduler.loop import Inbox, Loop
from scheduler.messages import Drain, WorkerConfig
from scheduler.outbox import FinalPicture, Outgoing
from scheduler.request import Request, SamplerName, Status
from scheduler.scheduler import StepScheduler
from scheduler.sdxl import stepping
from scheduler.sdxl.aside import SideStream
from scheduler.sdxl.call_engine import CallEngine
from scheduler.sdxl.pictures import CHUNK_LATENT_PIXELS
from scheduler.sdxl.step_engine import StepEngine
from scheduler.sdxl.weights import Model, load_model
from tests.info import make_info
from tests.sdxl.drive import Driver, Trace, make_request
from tests.sdxl.faults import limit_pixels, limit_rows
from tests.sdxl.held import HeldStreams
from tests.sdxl.oracle import LEVELS, TOLERANCE, error_of_range, largest_difference

LATENT_PIXELS = 8 * 8  # of a picture of 64x64
KINDS_OF_SAMPLERS: tuple[SamplerName, ...] = ("euler", "euler_a", "lcm", "unipc")  # plain, with noise, with a memory

Run = Callable[..., Driver]


@pytest.fixture
def config(tiny_sdxl: Path, batching: str) -> WorkerConfig:
    return WorkerConfig(model=str(tiny_sdxl), device="cpu", dtype="float32", batching=batching)  # type: ignore[arg-type]


@pytest.fixture
def model(config: WorkerConfig) -> Model:
    return load_model(config, progress=lambda _: None)


@pytest.fixture
def drive(model: Model, config: WorkerConfig, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs requests through an engine made of the model as it is now."""

    def run(requests: list[Request], **options: Any) -> Driver:
        driver = Driver(make_engine(model, config), monkeypatch)
        driver.run({0: requests}, **options)
        return driver

    return run


def make_engine(model: Model, config: WorkerConfig) -> Engine:
    return StepEngine(model, config) if config.batching == "step" else CallEngine(model, config)


def five_alike(sampler: SamplerName | None = None) -> list[Request]:
    return [
        make_request(f"r{seed}", seed=seed, num_steps=3, prompt=f"a house {seed}", sampler=sampler) for seed in range(5)
    ]


def assert_same(actual: Trace, expected: Trace) -> None:
    """The last of what each was given: a call that starts again tells its first steps twice."""
    assert actual.error is None
    assert actual.image is not None
    assert expected.image is not None
    assert largest_difference(actual.image, expected.image) <= LEVELS
    num_steps = len(expected.latents)
    for one, other in zip(actual.latents[-num_steps:], expected.latents, strict=True):
        assert error_of_range(one, other) < TOLERANCE
    assert actual.previews.keys() == expected.previews.keys()
    for step, preview in actual.previews.items():
        assert largest_difference(preview, expected.previews[step]) <= LEVELS


def assert_all_same(actual: Driver, expected: Driver) -> None:
    assert actual.traces.keys() == expected.traces.keys()
    for request_id, trace in actual.traces.items():
        assert_same(trace, expected.traces[request_id])


@pytest.mark.parametrize("batching", ["step"], indirect=True)
@pytest.mark.parametrize(("most", "halvings", "fitting"), [(10, 0, None), (9, 1, 6), (4, 2, 4), (3, 4, 2), (2, 4, 2)])
def test_the_batch_of_a_step_is_halved_until_it_fits(
    most: int, halvings: int, fitting: int | None, model: Model, drive: Run
) -> None:
    undisturbed = drive(five_alike())
    limit_rows(model.pipe.unet, most)
    driver = drive(five_alike())
    assert_all_same(driver, undisturbed)
    assert [(step.num_rows, step.out_of_memory, step.fitting_rows) for step in driver.steps] == [
        (10, halvings, fitting)
    ] * 3


@pytest.mark.parametrize("batching", ["step"], indirect=True)
@pytest.mark.parametrize("sampler", KINDS_OF_SAMPLERS)
def test_memory_may_run_out_in_the_midst(sampler: SamplerName, model: Model, drive: Run) -> None:
    """And no noise is drawn twice."""
    undisturbed = drive(five_alike(sampler))
    limit = limit_rows(model.pipe.unet, 10)

    def shrink(steps_done: int) -> None:
        limit.most = 4 if steps_done == 1 else 10

    driver = drive(five_alike(sampler), after_step=shrink)
    assert_all_same(driver, undisturbed)
    assert [step.out_of_memory for step in driver.steps] == [0, 2, 0]


@pytest.mark.parametrize("batching", ["step"], indirect=True)
@pytest.mark.parametrize("sampler", KINDS_OF_SAMPLERS)
def test_memory_may_run_out_after_the_unet(sampler: SamplerName, drive: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The UNet is not called again, and its batch stays as large as it is."""
    undisturbed = drive(five_alike(sampler))
    monkeypatch.setattr(stepping, "next_states", only_for(2, stepping.next_states))
    driver = drive(five_alike(sampler))
    assert_all_same(driver, undisturbed)
    assert [(step.num_rows, step.out_of_memory, step.fitting_rows) for step in driver.steps] == [(10, 2, None)] * 3


def test_memory_may_run_out_beside_decodes(
    model: Model, config: WorkerConfig, drive: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are waited for, because they hold memory too; then the same is tried once more."""
    undisturbed = drive(five_alike())
    limit = limit_rows(model.pipe.unet, 10)
    make = StepEngine if config.batching == "step" else CallEngine
    driver = Driver(make(model, config, SideStream(HeldStreams())), monkeypatch)

    def shrink(steps_done: int) -> None:
        limit.most = 4 if steps_done == 1 else 10

    driver.run({0: five_alike()}, after_step=shrink)
    assert_all_same(driver, undisturbed)
    assert sum(step.out_of_memory for step in driver.steps) == 2
    assert limit.num_refused == 3


@pytest.mark.parametrize("batching", ["step"], indirect=True)
def test_who_cannot_take_a_step_alone_fails_with_a_reason(drive: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepping, "next_states", only_for(0, stepping.next_states))
    driver = drive(five_alike())
    for trace in driver.traces.values():
        assert trace.error == "the server's memory does not hold a picture of 64x64: ask for a smaller one"
        assert trace.code == "out_of_memory"


def only_for(most: int, work: Callable[..., Any]) -> Callable[..., Any]:
    """The same for tensors of so many rows at most."""

    def cramped(states: Tensor, *args: Any) -> Any:
        if len(states) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return work(states, *args)

    return cramped


@pytest.mark.parametrize("batching", ["call"], indirect=True)
@pytest.mark.parametrize("sampler", KINDS_OF_SAMPLERS)
def test_a_call_is_halved_and_starts_again(sampler: SamplerName, model: Model, drive: Run) -> None:
    undisturbed = drive(five_alike(sampler))
    limit_rows(model.pipe.unet, 4)
    driver = drive(five_alike(sampler))
    assert_all_same(driver, undisturbed)
    assert [step.num_rows for step in driver.steps] == [4] * 3 + [2] * 3 + [4] * 3
    told = [(step.out_of_memory, step.fitting_rows) for step in driver.steps]
    assert told == [(2, 4)] + [(0, None)] * 8


@pytest.mark.parametrize("batching", ["call"], indirect=True)
def test_a_call_that_starts_again_leaves_out_who_was_cancelled(
    model: Model, config: WorkerConfig, drive: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = drive(five_alike())
    limit = limit_rows(model.pipe.unet, 10)
    driver, requests = Driver(make_engine(model, config), monkeypatch), five_alike()

    def cancel_and_shrink(steps_done: int) -> None:
        if steps_done == 2:
            driver.scheduler.abort(requests[0].id)
            limit.most = 4

    driver.run({0: requests}, after_step=cancel_and_shrink)
    for request in requests[1:]:
        assert_same(driver.traces[request.id], undisturbed.traces[request.id])
    assert [step.num_rows for step in driver.steps] == [10, 10] + [4] * 3 + [4] * 3


@pytest.mark.parametrize("most", [1, 0])
def test_a_request_that_does_not_fit_alone_fails_with_a_reason(most: int, model: Model, drive: Run) -> None:
    limit_rows(model.pipe.unet, most)
    requests = [make_request("large", guidance_scale=2.0), make_request("small", guidance_scale=2.0)]
    driver = drive(requests)
    assert [request.status for request in requests] == [Status.FAILED] * 2
    for trace in driver.traces.values():
        assert trace.error == "the server's memory does not hold a picture of 64x64: ask for a smaller one"
        assert trace.code == "out_of_memory"
    assert [step.fitting_rows for step in driver.steps] == [None]


def test_nobody_else_fails(model: Model, drive: Run) -> None:
    undisturbed = drive(five_alike())
    limit_pixels(model.pipe.unet, 6 * LATENT_PIXELS)
    driver = drive([*five_alike(), make_request("large", width=128, height=128)])
    large = driver.traces.pop("large")
    assert large.error == "the server's memory does not hold a picture of 128x128: ask for a smaller one"
    assert_all_same(driver, undisturbed)


@pytest.mark.parametrize("most", [4, 2, 1])
def test_previews_are_halved(most: int, model: Model, drive: Run) -> None:
    undisturbed = drive(five_alike())
    limit = limit_rows(model.tiny_vae.decoder, most)
    driver = drive(five_alike())
    assert_all_same(driver, undisturbed)
    assert limit.num_refused > 0
    assert all(step.fitting_rows is None for step in driver.steps)  # the UNet's batch had room


def test_a_preview_that_does_not_fit_is_left_out(model: Model, drive: Run) -> None:
    undisturbed = drive(five_alike())
    limit_rows(model.tiny_vae.decoder, 0)
    driver = drive(five_alike())
    for request_id, trace in driver.traces.items():
        assert trace.previews == {}
        assert trace.image is not None
        assert (trace.image == undisturbed.traces[request_id].image).all()


@pytest.mark.parametrize("most", [4, 2, 1])
def test_pictures_are_halved(most: int, model: Model, drive: Run) -> None:
    undisturbed = drive(five_alike())
    limit = limit_rows(model.pipe.vae.decoder, most)
    driver = drive(five_alike())
    assert_all_same(driver, undisturbed)
    assert limit.num_refused > 0
    assert max(limit.sizes) <= most


@pytest.mark.parametrize("batching", ["call"], indirect=True)
def test_a_decode_that_is_halved_tells_nothing_of_the_next_call(
    model: Model, config: WorkerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks of two pictures, of which some are begun between the calls."""
    monkeypatch.setitem(CHUNK_LATENT_PIXELS, "cpu", 2 * LATENT_PIXELS)
    limit_rows(model.pipe.vae.decoder, 1)
    driver = Driver(CallEngine(model, config, SideStream(HeldStreams())), monkeypatch)
    driver.run({0: [make_request(f"r{seed}", seed=seed, num_steps=2, preview_every=0) for seed in range(6)]})
    assert sum(step.out_of_memory for step in driver.steps) < 3
    driver.run({0: [make_request("next", num_steps=2)]})
    assert sum(step.out_of_memory for step in driver.steps) == 3
    assert [step.fitting_rows for step in driver.steps] == [None] * 4


def test_a_picture_that_does_not_fit_is_decoded_in_tiles(model: Model, drive: Run) -> None:
    limit = limit_pixels(model.pipe.vae.decoder, LATENT_PIXELS - 1)
    driver = drive(five_alike())
    for trace in driver.traces.values():
        assert trace.error is None
        assert trace.image is not None
        assert trace.image.shape == (64, 64, 3)
    assert max(limit.sizes) == 4 * 4


def test_a_picture_of_which_no_tile_fits_fails(model: Model, drive: Run) -> None:
    limit_rows(model.pipe.vae.decoder, 0)
    driver = drive(five_alike())
    for trace in driver.traces.values():
        assert (trace.image, trace.code) == (None, "out_of_memory")
        assert trace.error == "the server's memory does not hold a picture of 64x64: ask for a smaller one"


@pytest.mark.parametrize("batching", ["step"], indirect=True)
@pytest.mark.parametrize("most", [5, 2])
def test_prompts_are_encoded_in_halves(most: int, model: Model, drive: Run) -> None:
    undisturbed = drive(five_alike())
    limit = limit_rows(model.pipe.text_encoder, most)
    driver = drive(five_alike())
    assert_all_same(driver, undisturbed)
    assert limit.num_refused > 0
    assert max(limit.sizes) <= most


@pytest.mark.parametrize("batching", ["step"], indirect=True)
def test_who_cannot_start_fails_alone(model: Model, drive: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = drive(five_alike())
    tokenizer, poison = model.pipe.tokenizer, "a house 3"
    call = type(tokenizer).__call__

    def choke(self: Any, text: Any, *args: Any, **kwargs: Any) -> Any:
        if poison in text:
            raise ValueError("cannot read it")
        return call(self, text, *args, **kwargs)

    monkeypatch.setattr(type(tokenizer), "__call__", choke)
    driver = drive(five_alike())
    assert driver.traces["r3"].error == "ValueError: cannot read it"
    assert driver.traces["r3"].code == "engine_error"
    for request_id in ("r0", "r1", "r2", "r4"):
        assert_same(driver.traces[request_id], undisturbed.traces[request_id])
    assert [step.num_rows for step in driver.steps] == [8] * 3


@pytest.mark.parametrize("batching", ["step"], indirect=True)
def test_another_error_of_the_unet_is_let_out_and_changes_nothing(
    model: Model, config: WorkerConfig, drive: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = drive(five_alike())
    driver, fault = Driver(make_engine(model, config), monkeypatch), Fault()
    model.pipe.unet.register_forward_pre_hook(fault)

    def fail_between(steps_done: int) -> None:
        if steps_done == 1:
            fault.is_there = True
            with pytest.raises(ValueError, match="not now"):
                driver.engine.run(list(driver.scheduler.live_requests), lambda _: None)
            fault.is_there = False

    driver.run({0: five_alike()}, after_step=fail_between)
    assert_all_same(driver, undisturbed)


class Fault:
    is_there = False

    def __call__(self, *_: object) -> None:
        if self.is_there:
            raise ValueError("not now")


@pytest.mark.parametrize("batching", ["step"], indirect=True)
def test_requests_that_start_again_get_the_same_pictures(model: Model, config: WorkerConfig) -> None:
    """Each alone, with its seed, when the UNet has raised in their third step."""
    undisturbed = run_loop(StepEngine(model, config), three_kinds())
    fault = FaultAtCall(3)
    model.pipe.unet.register_forward_pre_hook(fault)
    pictures = run_loop(StepEngine(model, config), three_kinds())
    assert fault.num_calls == 3 + 3 * 5
    assert pictures.keys() == undisturbed.keys() == {"euler_a", "unipc", "lcm"}
    for name, picture in pictures.items():
        assert largest_difference(picture, undisturbed[name]) <= LEVELS


def three_kinds() -> list[Request]:
    samplers: tuple[SamplerName, ...] = ("euler_a", "unipc", "lcm")
    return [make_request(name, sampler=name, seed=seed, num_steps=5) for seed, name in enumerate(samplers)]


class FaultAtCall:
    def __init__(self, number: int) -> None:
        self.num_calls = 0
        self._number = number

    def __call__(self, *_: object) -> None:
        self.num_calls += 1
        if self.num_calls == self._number:
            raise ValueError("not now")


def run_loop(engine: Engine, requests: list[Request]) -> dict[str, Pixels]:
    """The real loop, which isolates and releases the requests of a batch that raised."""
    pictures: dict[str, Pixels] = {}

    def emit(news: Sequence[Outgoing]) -> None:
        pictures.update({each.request.id: each.pixels for each in news if isinstance(each, FinalPicture)})

    inbox: Inbox = SimpleQueue()
    for request in requests:
        inbox.put(request)
    inbox.put(Drain())
    Loop(engine, StepScheduler(CostModel(make_info())), inbox, emit).run()
    return pictures
