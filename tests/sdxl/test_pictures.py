"""Previews and pictures: when they are due, that they share decodes, and that they come out in order."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scheduler.engine import Pixels, RequestOutput
from scheduler.messages import WorkerConfig
from scheduler.request import Request, Status
from scheduler.sdxl import pictures as pictures_module
from scheduler.sdxl.aside import Aside, Inline, SideStream
from scheduler.sdxl.decode import decode
from scheduler.sdxl.memory import Memory
from scheduler.sdxl.pictures import MOST_UNDERWAY, Pictures, Slice
from scheduler.sdxl.preview import PreviewDecoder
from scheduler.sdxl.weights import Model, load_model
from tests.sdxl.drive import make_request
from tests.sdxl.faults import limit_rows
from tests.sdxl.held import MILLISECONDS, HeldStreams

NOT_A_NUMBER = float("nan")


@pytest.fixture(autouse=True)
def inference_mode() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture
def model(tiny_sdxl: Path) -> Model:
    return load_model(WorkerConfig(model=str(tiny_sdxl), device="cpu", dtype="float32"), progress=lambda _: None)


@pytest.fixture
def streams() -> HeldStreams:
    return HeldStreams()


def make_pictures(model: Model, aside: Aside | None = None, clock: Callable[[], float] = lambda: 0.0) -> Pictures:
    aside = aside or Inline()
    return Pictures(model, aside, Memory(aside.free_memory), clock)


def make_slice(request: Request, steps_done: int = 1, first: float | None = None) -> Slice:
    """Latents of the seed and the step; their first number may be given."""
    shape = (1, 4, request.params.height // 8, request.params.width // 8)
    generator = torch.Generator().manual_seed(1000 * request.params.seed + steps_done)
    latents, x0 = (torch.randn(shape, generator=generator) for _ in range(2))
    if first is not None:
        latents[0, 0, 0, 0] = x0[0, 0, 0, 0] = first
    return Slice(request, steps_done, latents, x0, prompt_truncated=False)


def note_batches(module: nn.Module) -> list[tuple[int, ...]]:
    """The shape of each input that the module, or a copy made of it later, gets from now on."""
    shapes: list[tuple[int, ...]] = []
    module.register_forward_pre_hook(Noting(shapes))
    return shapes


class Noting:
    def __init__(self, shapes: list[tuple[int, ...]]) -> None:
        self._shapes = shapes

    def __call__(self, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        self._shapes.append(tuple(args[0].shape))

    def __deepcopy__(self, memo: dict[int, Any]) -> "Noting":
        return self


def steps_of(outputs: list[RequestOutput]) -> list[tuple[str, int]]:
    return [(each.request.id, each.steps_done) for each in outputs]


def same(one: Pixels | None, other: Pixels | None) -> bool:
    return one is other if one is None or other is None else np.array_equal(one, other)


@pytest.mark.parametrize(
    ("preview", "seconds", "expected"),
    [
        ({"preview_every": 3}, 1.0, [1, 4, 7]),
        ({"preview_every": 0}, 1.0, []),
        ({"preview_every": 0, "preview_interval": 1.0}, 1.0, []),
        ({"preview_every": 1, "preview_interval": 2.5}, 1.0, [1, 4, 7]),
        ({"preview_every": 1, "preview_interval": 3.0}, 1.0, [1, 4, 7]),
        ({"preview_every": 2, "preview_interval": 3.0}, 1.0, [1, 5, 9]),
        ({"preview_every": 1, "preview_interval": 100.0}, 1.0, [1]),
        ({"preview_every": 4, "preview_interval": 1.0}, 10.0, [1, 5, 9]),
        ({"preview_every": 1, "preview_interval": 100.0, "preview_steps": (2, 3, 10)}, 1.0, [2, 3]),
    ],
)
def test_a_preview_is_due_by_step_and_by_interval(
    preview: dict[str, Any], seconds: float, expected: list[int], model: Model
) -> None:
    """Of 10 steps, the last of which gives the picture; `seconds` lie between two of them."""
    request, now = make_request(num_steps=10, **preview), 0.0
    pictures = make_pictures(model, clock=lambda: now)
    previews = []
    for steps_done in range(1, 11):
        now = seconds * steps_done
        (output,) = pictures.start([make_slice(request, steps_done)]) or [RequestOutput(request, steps_done)]
        if output.preview is not None:
            previews.append(steps_done)
            assert request.previewed_at == now
    assert output.image is not None
    assert previews == expected


def test_previews_of_one_size_share_a_decode(model: Model) -> None:
    shapes = note_batches(model.tiny_vae.decoder)
    pictures = make_pictures(model)
    sizes = [512, 32, 16, 512, 15, 8]
    requests = [make_request(f"r{index}", seed=index, preview_size=size) for index, size in enumerate(sizes)]
    outputs = pictures.start([make_slice(request) for request in requests])
    assert shapes == [(2, 4, 8, 8), (1, 4, 8, 8), (3, 4, 8, 8)]
    decoder = PreviewDecoder(model.tiny_vae)
    for output in outputs:
        num_halvings = [0, 1, 2, 0, 2, 2][requests.index(output.request)]
        own = decoder.decode(make_slice(output.request).x0, num_halvings).pixels[0].numpy()
        assert output.preview is not None
        assert abs(output.preview.astype(int) - own).max() <= 1


def test_pictures_are_decoded_in_chunks(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures_module, "CHUNK_LATENT_PIXELS", {"cpu": 2 * 8 * 8})
    shapes = note_batches(model.pipe.vae.decoder)
    slices = [make_slice(make_request(f"r{seed}", num_steps=1, seed=seed)) for seed in range(5)]
    outputs = make_pictures(model).start(slices)
    assert [shape[0] for shape in shapes] == [2, 2, 1]
    assert [output.request.id for output in outputs] == [f"r{seed}" for seed in range(5)]
    for output, each in zip(outputs, slices, strict=True):
        own = decode(model.pipe.vae, each.latents).pixels[0].numpy()
        assert output.image is not None
        assert abs(output.image.astype(int) - own).max() <= 1


def test_latents_that_are_not_numbers_give_an_error_and_no_picture(model: Model) -> None:
    good, bad = (make_request(name, num_steps=1) for name in ("good", "bad"))
    outputs = make_pictures(model).start([make_slice(good), make_slice(bad, first=NOT_A_NUMBER)])
    assert [output.image is None for output in outputs] == [False, True]
    assert outputs[0].error is None
    assert outputs[1].error == (
        "the model gave invalid numbers in float32; the server may have to run with --dtype float32"
    )


def test_a_preview_that_is_not_numbers_is_left_out(model: Model) -> None:
    good, bad = make_request("good"), make_request("bad")
    outputs = make_pictures(model).start([make_slice(bad, first=NOT_A_NUMBER), make_slice(good)])
    assert steps_of(outputs) == [("good", 1)]


def test_seconds_are_told_once_by_stage(model: Model) -> None:
    pictures = make_pictures(model)
    pictures.start([make_slice(make_request("going")), make_slice(make_request("done", num_steps=1))])
    seconds = pictures.take_seconds()
    assert set(seconds) == {"preview_decode", "vae_decode"}
    assert all(each > 0 for each in seconds.values())
    assert pictures.take_seconds() == {}


def test_a_step_waits_for_nothing_that_is_made_beside_it(model: Model, streams: HeldStreams) -> None:
    pictures = make_pictures(model, SideStream(streams))
    going, done = make_request("going"), make_request("done", num_steps=1)
    assert pictures.start([make_slice(going), make_slice(done)]) == []
    assert pictures.collect(wait=False) == []
    assert pictures.take_seconds() == {}
    streams.let_all_go()
    assert steps_of(pictures.collect(wait=False)) == [("going", 1), ("done", 1)]
    assert pictures.collect(wait=False) == []
    assert pictures.take_seconds() == dict.fromkeys(("preview_decode", "vae_decode"), MILLISECONDS / 1000)


def test_what_is_made_beside_equals_what_is_made_at_once(model: Model, streams: HeldStreams) -> None:
    slices = [make_slice(make_request("going")), make_slice(make_request("done", num_steps=1, seed=1))]
    inline = make_pictures(model).start(slices)
    beside = make_pictures(model, SideStream(streams))
    beside.start(slices)
    for expected, actual in zip(inline, [*beside.collect(wait=True), *beside.collect(wait=True)], strict=True):
        assert same(actual.preview, expected.preview)
        assert same(actual.image, expected.image)


def test_inputs_are_copies_in_the_main_stream(model: Model, streams: HeldStreams) -> None:
    """So that neither the sampler nor the end of a request takes them away from the other stream."""
    each = make_slice(make_request())
    make_pictures(model, SideStream(streams)).start([each])
    (kept,) = streams.kept
    assert kept.equal(each.x0)
    assert kept.data_ptr() != each.x0.data_ptr()


def test_outputs_come_in_the_order_of_the_steps(model: Model, streams: HeldStreams) -> None:
    pictures = make_pictures(model, SideStream(streams))
    request = make_request(num_steps=3)
    pictures.start([make_slice(request, 1)])
    streams.let_all_go()
    assert pictures.start([make_slice(request, 2)]) == []  # the first is ready, but goes first and by itself
    pictures.start([make_slice(request, 3)])
    streams.let_all_go()
    outputs = pictures.collect(wait=False)
    assert steps_of(outputs) == [("request", 1), ("request", 2), ("request", 3)]
    assert [output.image is None for output in outputs] == [True, True, False]


def test_collecting_waits_for_the_first_that_is_due(model: Model, streams: HeldStreams) -> None:
    pictures = make_pictures(model, SideStream(streams))
    assert pictures.collect(wait=True) == []  # nothing is being made
    for name in ("a", "b"):
        pictures.start([make_slice(make_request(name))])
    assert steps_of(pictures.collect(wait=True)) == [("a", 1)]
    assert pictures.collect(wait=False) == []
    assert steps_of(pictures.collect(wait=True)) == [("b", 1)]


def test_nothing_is_told_of_requests_that_have_ended(model: Model, streams: HeldStreams) -> None:
    pictures = make_pictures(model, SideStream(streams))
    aborted, going = make_request("aborted", num_steps=1), make_request("going")
    pictures.start([make_slice(aborted)])
    pictures.start([make_slice(going)])
    aborted.status = Status.ABORTED
    assert steps_of(pictures.collect(wait=True)) == [("going", 1)]
    assert pictures.collect(wait=True) == []


def test_previews_are_left_out_when_they_fall_behind(model: Model, streams: HeldStreams) -> None:
    pictures = make_pictures(model, SideStream(streams))
    going, keen = make_request("going", num_steps=9), make_request("keen", num_steps=9, preview_steps=tuple(range(9)))
    for steps_done in range(1, 9):
        pictures.start([make_slice(going, steps_done), make_slice(keen, steps_done)])
    streams.let_all_go()
    told = steps_of(pictures.collect(wait=False))
    assert [step for name, step in told if name == "going"] == list(range(1, MOST_UNDERWAY + 1))
    assert [step for name, step in told if name == "keen"] == list(range(1, 9))
    pictures.start([make_slice(going, 8)])
    assert steps_of(pictures.collect(wait=True)) == [("going", 8)]


@pytest.mark.parametrize("most", [2, 1])
def test_few_pictures_are_begun_at_a_time_and_none_is_lost(most: int, model: Model, streams: HeldStreams) -> None:
    """A chunk here is one picture."""
    shapes = note_batches(model.pipe.vae.decoder)
    pictures = make_pictures(model, SideStream(streams, most))
    requests = [make_request(f"r{index}", width=512, height=512, num_steps=1) for index in range(5)]
    assert pictures.start([make_slice(each) for each in requests]) == []
    assert len(shapes) == most
    requests[3].status = Status.ABORTED
    told = []
    while outputs := pictures.collect(wait=True):
        told += steps_of(outputs)
        assert len(shapes) <= len(told) + most
    assert told == [(f"r{index}", 1) for index in (0, 1, 2, 4)]
    assert len(shapes) == 4


def test_steps_wait_where_pictures_pile_up(model: Model, streams: HeldStreams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures_module, "MOST_CHUNKS_WAITING", 3)
    shapes = note_batches(model.pipe.vae.decoder)
    pictures = make_pictures(model, SideStream(streams))
    for index in range(12):
        pictures.start([make_slice(make_request(f"r{index}", num_steps=1))])
        assert index + 1 - len(shapes) <= 3
    told = []
    while outputs := pictures.collect(wait=True):
        told += steps_of(outputs)
    assert told == [(f"r{index}", 1) for index in range(12)]


def test_what_waits_is_kept_apart_from_the_batch(model: Model, streams: HeldStreams) -> None:
    """Whose tensors are written anew, and are large."""
    pictures, slices = make_pictures(model, SideStream(streams, most_chunks=1)), []
    for index in range(2):
        slices.append(make_slice(make_request(f"r{index}", num_steps=1, seed=index)))
        pictures.start(slices[-1:])
    expected = decode(model.pipe.vae, slices[-1].latents).pixels[0].numpy()
    for each in slices:
        each.latents.zero_()
    *_, last = [output for _ in slices for output in pictures.collect(wait=True)]
    assert same(last.image, expected)


def test_what_waits_stays_with_the_batch_where_there_is_no_memory_for_a_copy(
    model: Model, streams: HeldStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Slice) -> Slice:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB")

    slices = [make_slice(make_request(f"r{seed}", num_steps=1, seed=seed)) for seed in range(2)]
    copied = make_pictures(model).start(slices)
    monkeypatch.setattr(Slice, "copied", fail)
    pictures = make_pictures(model, SideStream(streams))
    assert pictures.start(slices) == []
    for expected, actual in zip(copied, pictures.collect(wait=True), strict=True):
        assert same(actual.image, expected.image)


def test_a_picture_that_fails_late_is_told_of(model: Model, streams: HeldStreams) -> None:
    pictures = make_pictures(model, SideStream(streams, most_chunks=1))
    requests = [make_request(f"r{index}", num_steps=1) for index in range(2)]
    for each in requests:
        pictures.start([make_slice(each)])
    limit_rows(model.pipe.vae.decoder, 0)
    told = [output for _ in requests for output in pictures.collect(wait=True)]
    assert [output.request for output in told if output.image is not None] == requests[:-1]
    assert [(output.request, output.code) for output in told if output.error] == [(requests[-1], "out_of_memory")]


def test_a_fault_of_the_device_ends_the_requests_it_hits(
    model: Model, streams: HeldStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = make_pictures(model, SideStream(streams))
    pictures.start([make_slice(make_request("hit", num_steps=1))])

    def fail(_: object) -> None:
        raise RuntimeError("an illegal memory access was encountered")

    with monkeypatch.context() as context:
        context.setattr("tests.sdxl.held.Mark.synchronize", fail)
        (output,) = pictures.collect(wait=True)
    assert (output.request.id, output.image, output.code) == ("hit", None, "engine_error")
    assert output.error == "RuntimeError: an illegal memory access was encountered"
    assert pictures.collect(wait=True) == []
