"""Models that are made ready for a few shapes before they are used.

PyTorch traces the networks, and runs what it traced: `test_compiled.py` compiles for real, what takes seconds.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from scheduler.engine import Engine, LoadError
from scheduler.messages import Speedups, StepPeak, WorkerConfig
from scheduler.sdxl import warming
from scheduler.sdxl.call_engine import CallEngine
from scheduler.sdxl.compiled import texts_compile
from scheduler.sdxl.preview import PreviewDecoder
from scheduler.sdxl.speedups import apply
from scheduler.sdxl.step_engine import StepEngine
from scheduler.sdxl.warmed import Call, Network, Prepare, Warmed
from scheduler.sdxl.weights import Model, load_model
from tests.models import save_tiny_sdxl
from tests.sdxl.drive import Driver, make_request
from tests.sdxl.gauges import BYTES_PER_ROW_PIXEL, STEP_BYTES, CountingGauge
from tests.sdxl.oracle import Oracle, assert_all_own
from tests.tools import require

ENGINES: dict[str, type[StepEngine] | type[CallEngine]] = {"step": StepEngine, "call": CallEngine}


class Watched(Warmed):
    """Keeps the rows of all calls in shapes that nothing was made ready for."""

    others: list[int]

    def __init__(self, plain: Network, fast: Network, prepare: Prepare) -> None:
        def watched(*inputs: Tensor) -> Any:
            Watched.others.append(len(inputs[0]))
            return plain(*inputs)

        super().__init__(watched, fast, prepare)


def as_it_is(call: Call) -> Call:
    return call


def make_config(folder: Path, **config: object) -> WorkerConfig:
    fields = {"model": str(folder), "device": "cpu", "dtype": "float32", "max_rows": 4} | config
    return WorkerConfig(**fields)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def traced() -> Iterator[pytest.MonkeyPatch]:
    """torch.compile without its compiler; what would be traced again fails."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
        patch.setattr(warming, "Warmed", Watched)
        patch.setattr(warming, "never_again", as_it_is)
        patch.setattr(warming, "TEXT_ROWS", (4,))  # each takes seconds to trace
        patch.setattr(warming, "CHUNK_LATENT_PIXELS", {"cpu": 8 * 8})
        yield patch
    torch.compiler.reset()


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture(scope="module")
def model(traced: pytest.MonkeyPatch, tiny_sdxl: Path, told: list[str]) -> Model:  # noqa: ARG001
    """Ready for 4 rows of 64x64, and all else of such pictures."""
    speedups = Speedups(
        compile="default",
        warm_rows=(4,),
        warm_vae=True,
        warm_previews=True,
        warm_text=texts_compile(),
        fuse_qkv=True,
    )
    loaded = load_model(make_config(tiny_sdxl), lambda _: None)
    return apply(loaded, speedups, max_rows=4, progress=told.append)


@pytest.fixture
def engine(batching: str, model: Model, tiny_sdxl: Path) -> Engine:
    Watched.others = []
    return ENGINES[batching](model, make_config(tiny_sdxl, batching=batching))


def test_progress_tells_every_shape(model: Model, told: list[str]) -> None:
    require(texts_compile(), f"PyTorch {torch.__version__} cannot trace the text encoders")
    assert model.row_counts == {(64, 64): [4]}
    assert told == [
        "compiling 1 of 5: 64x64, 4 rows",
        "compiling 2 of 5: 64x64, 1 finished",
        "compiling 3 of 5: 64x64, 2 previews",
        "compiling 4 of 5: 4 texts",
        "compiling 5 of 5: 4 texts",
    ]


def test_padded_rows_change_no_picture_and_nothing_is_compiled_later(
    engine: Engine, tiny_oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    joins = {
        0: [make_request("a", guidance_scale=5.0, seed=1)],
        1: [make_request("b", guidance_scale=0.0, num_steps=6, seed=2)],
        3: [make_request("c", prompt="a blue boat", num_steps=5, guidance_scale=7.0, seed=3)],
    }
    driver = Driver(engine, monkeypatch, max_rows=4)
    with torch.compiler.set_stance("fail_on_recompile"):
        driver.run(joins)
    assert_all_own(driver, joins.values(), tiny_oracle)
    assert Watched.others == []


def test_padding_is_counted(model: Model, tiny_sdxl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(StepEngine(model, make_config(tiny_sdxl)), monkeypatch, max_rows=4)
    driver.run({0: [make_request("a", num_steps=2)], 1: [make_request("b", num_steps=1, guidance_scale=0.0)]})
    assert [(step.num_rows, step.padded_rows) for step in driver.steps] == [(2, 2), (3, 1)]


def test_padding_is_counted_in_call_mode_too(model: Model, tiny_sdxl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(tiny_sdxl, batching="call")
    driver = Driver(CallEngine(model, config), monkeypatch, max_rows=4)
    driver.run({0: [make_request("a", num_steps=2)]})
    assert [(step.num_rows, step.padded_rows) for step in driver.steps] == [(2, 2), (2, 2)]


def test_previews_are_made_ready_as_large_as_they_are_by_default(tiny_sdxl: Path) -> None:
    model = load_model(make_config(tiny_sdxl), lambda _: None)
    decoder = PreviewDecoder(model.tiny_vae)
    networks: list[Network] = []

    def wrap(network: Network) -> Warmed:
        networks.append(network)
        return Warmed(network, network, as_it_is)

    halved = decoder.decoders[1].decoder.forward
    shapes = list(warming.preview_shapes(model, decoder, wrap, [(1024, 512), (768, 1024)], (1, 2, 3, 8)))
    assert networks == [halved]
    assert [shape.name for shape in shapes[:3]] == [f"1024x512, {number} previews" for number in (4, 1)] + [
        "768x1024, 4 previews"
    ]
    assert shapes[0].inputs == (((4, 4, 64, 128), torch.float32),)


def test_other_sizes_run_as_they_are(engine: Engine, tiny_oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    joins = {0: [make_request("a", width=72, num_steps=2, preview_every=0)]}
    driver = Driver(engine, monkeypatch)
    driver.run(joins)
    assert_all_own(driver, joins.values(), tiny_oracle)
    assert Watched.others == [2, 2, 1]  # two steps, and the picture
    assert [step.padded_rows for step in driver.steps] == [0, 0]


class Full:
    """Networks that memory holds up to so many rows of."""

    def __init__(self, most: int, error: Exception) -> None:
        self._most, self._error = most, error

    def __call__(self, network: Network, _kind: str) -> Network:
        def run(*inputs: Tensor) -> Any:
            if len(inputs[0]) > self._most:
                raise self._error
            return network(*inputs)

        return run


def test_what_memory_does_not_hold_is_left_out_and_told(tiny_sdxl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "compiled", Full(3, torch.OutOfMemoryError("out of memory")))
    told: list[str] = []
    loaded = load_model(make_config(tiny_sdxl), lambda _: None)
    speedups = Speedups(compile="default", warm_sizes=((64, 64), (72, 64)))
    model = apply(loaded, speedups, max_rows=4, progress=told.append)
    assert model.row_counts == {(64, 64): [1, 2, 3], (72, 64): [1, 2, 3]}
    assert told[:3] == [
        "compiling 1 of 8: 64x64, 4 rows",
        "the memory does not hold 64x64, 4 rows: that runs as without --compile and --cuda-graphs",
        "compiling 2 of 8: 64x64, 3 rows",
    ]


class FailingTwice:
    """A recording whose end fails too, because what was recorded did not fit."""

    def __call__(self, network: Network, _kind: str) -> Network:
        def run(*inputs: Tensor) -> Any:
            if len(inputs[0]) < 4:
                return network(*inputs)
            try:
                raise torch.OutOfMemoryError("out of memory")
            finally:
                raise RuntimeError("the recording was not begun in this stream")

        return run


def test_memory_that_ends_a_recording_is_recognised(tiny_sdxl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "compiled", FailingTwice())
    loaded = load_model(make_config(tiny_sdxl), lambda _: None)
    model = apply(loaded, Speedups(compile="default", warm_rows=(2,)), max_rows=4)
    assert model.row_counts == {(64, 64): [2]}


def test_a_compiler_that_fails_is_told_in_one_line(tiny_sdxl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "compiled", Full(0, RuntimeError("no such kernel\n  in line 3")))
    loaded = load_model(make_config(tiny_sdxl), lambda _: None)
    with pytest.raises(LoadError) as caught:
        apply(loaded, Speedups(compile="default"), max_rows=4)
    assert str(caught.value) == (
        "64x64, 4 rows: RuntimeError: no such kernel; leave out --compile and --cuda-graphs,"
        " or empty PyTorch's compiler cache if an earlier start was cut short"
    )


def test_what_stopped_the_compiler_is_told(tiny_sdxl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch raises an error of its own over it."""

    def broken(*_: object) -> None:
        raise OSError("no such header\n  in line 3")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=broken))
    loaded = load_model(make_config(tiny_sdxl), lambda _: None)
    with pytest.raises(LoadError, match=r"^64x64, 4 rows: OSError: no such header; leave out --compile"):
        apply(loaded, Speedups(compile="default"), max_rows=4)


def test_a_distilled_model_has_its_guidance_made_ready_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "compiled", lambda network, _kind: network)
    monkeypatch.setattr(warming, "Warmed", Watched)
    Watched.others = []
    folder = save_tiny_sdxl(tmp_path, time_cond_proj_dim=8)
    loaded = load_model(make_config(folder), lambda _: None)
    model = apply(loaded, Speedups(compile="default"), max_rows=2)
    for name, kind in ENGINES.items():
        driver = Driver(kind(model, make_config(folder, batching=name)), monkeypatch)
        driver.run({0: [make_request(f"{name}-guided", num_steps=1)]})
    assert Watched.others == []


def test_graphs_are_recorded_in_a_lane_for_each_network(tiny_sdxl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a card, but for the card."""
    lanes: list[object] = []

    def record(call: Call, lane: object) -> Call:
        lanes.append(lane)
        return call

    monkeypatch.setattr(warming, "TEXT_ROWS", (2,))
    monkeypatch.setattr(warming, "Lane", object)
    monkeypatch.setattr(warming, "Captured", record)
    told: list[str] = []
    loaded = load_model(make_config(tiny_sdxl), lambda _: None)
    warming.make_ready(loaded, Speedups(cuda_graphs=True, warm_text=True), max_rows=2, progress=told.append)
    assert told[0] == "recording 1 of 4: 64x64, 2 rows"
    assert [lanes.index(lane) for lane in lanes] == [0, 0, 2, 3]


def test_what_ready_steps_take_is_kept(tiny_sdxl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gauge = CountingGauge(monkeypatch)
    monkeypatch.setattr(warming, "choose_gauge", lambda _: gauge)
    monkeypatch.setattr(warming, "compiled", lambda network, _kind: network)
    loaded = load_model(make_config(tiny_sdxl), lambda _: None)
    model = apply(loaded, Speedups(compile="default", warm_rows=(2,)), max_rows=4)
    assert model.ready_peaks == [
        StepPeak(64 * 64, rows, STEP_BYTES + BYTES_PER_ROW_PIXEL * rows * 64 * 64) for rows in (4, 2)
    ]
