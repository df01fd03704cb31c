"""Each attention of the UNet in the kernel that was fastest for its shape."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from scheduler.messages import WorkerConfig
from scheduler.sdxl import fastest_attention
from scheduler.sdxl.fastest_attention import AttentionShape, FastestAttention, in_words, survey, use_fastest
from scheduler.sdxl.networks import on_rows, unet_inputs
from scheduler.sdxl.speedups import fuse_qkv
from scheduler.sdxl.weights import Model, load_model

backends: Any = torch.backends.cuda  # untyped

SIZE = (64, 64)
TO_ITSELF = AttentionShape(heads=2, queries=16, keys=16, head_dim=8)  # of latents of 8x8, their sides halved
TO_THE_TEXT = AttentionShape(heads=2, queries=16, keys=24, head_dim=8)
CHOSEN = {TO_ITSELF: "math", TO_THE_TEXT: "flash"}


@pytest.fixture
def model(tiny_sdxl: Path) -> Model:
    return load_model(WorkerConfig(model=str(tiny_sdxl), device="cpu", dtype="float32"), lambda _: None)


def choose(model: Model, chosen: dict[AttentionShape, str]) -> None:
    unet = model.pipe.unet
    unet.set_attn_processor({name: FastestAttention(each, chosen) for name, each in unet.attn_processors.items()})


def make_inputs(model: Model, size: tuple[int, int], rows: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for shape, _ in unet_inputs(model.pipe, size, rows)]


@torch.inference_mode()
def call(model: Model, size: tuple[int, int] = SIZE, rows: int = 2) -> Tensor:
    noise: Tensor = on_rows(model.pipe.unet.forward)(*make_inputs(model, size, rows))
    return noise


class Kernels(TorchFunctionMode):
    """Notes which kernels each attention might have run in."""

    def __init__(self) -> None:
        super().__init__()
        self.allowed: set[tuple[int, int, str]] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is scaled_dot_product_attention:
            both = {"flash": backends.flash_sdp_enabled(), "math": backends.math_sdp_enabled()}
            names = " or ".join(name for name, is_on in both.items() if is_on)
            self.allowed.add((args[0].shape[2], args[1].shape[2], names))
        return func(*args, **(kwargs or {}))


def test_every_attention_of_the_unet_is_timed_in_each_kernel_of_the_device(model: Model) -> None:
    timed = survey(model, SIZE, rows=4)
    assert {shape: set(seconds) for shape, seconds in timed.items()} == {
        TO_ITSELF: {"flash", "math"},
        TO_THE_TEXT: {"flash", "math"},
    }
    assert all(min(rounds) > 0 for seconds in timed.values() for rounds in seconds.values())


def test_what_a_device_cannot_do_is_no_choice(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fastest_attention.CANDIDATES, "cpu", ("math", "efficient"))
    assert [set(seconds) for seconds in survey(model, SIZE, rows=2).values()] == [{"math"}, {"math"}]


@pytest.mark.parametrize("prepare", [lambda _: None, fuse_qkv], ids=["as it is", "fused"])
def test_each_shape_has_its_own_kernel_and_the_result_is_the_same(model: Model, prepare: Callable[[Any], None]) -> None:
    expected = call(model)
    prepare(model.pipe.unet)
    choose(model, CHOSEN)
    with Kernels() as kernels:
        noise = call(model)
    assert kernels.allowed == {(16, 16, "math"), (16, 24, "flash")}
    assert torch.allclose(noise, expected, atol=1e-5)


def test_shapes_that_were_not_timed_are_left_to_pytorch(model: Model) -> None:
    choose(model, CHOSEN)
    with Kernels() as kernels:
        call(model, size=(64, 128))
    assert kernels.allowed == {(32, 32, "flash or math"), (32, 24, "flash or math")}


def test_the_number_of_rows_changes_no_choice(model: Model) -> None:
    choose(model, CHOSEN)
    with Kernels() as kernels:
        call(model, rows=5)
    assert kernels.allowed == {(16, 16, "math"), (16, 24, "flash")}


@pytest.mark.parametrize("prepare", [lambda _: None, fuse_qkv], ids=["as it is", "fused"])
@torch.inference_mode()
def test_the_choice_is_compiled_in_without_a_break(model: Model, prepare: Callable[[Any], None]) -> None:
    prepare(model.pipe.unet)
    choose(model, CHOSEN)
    kernels = Kernels()

    def watched(graph: Callable[..., Any], _: object) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            with kernels:
                return graph(*args)

        return run

    fast = torch.compile(on_rows(model.pipe.unet.forward), fullgraph=True, dynamic=False, backend=watched)
    noise = fast(*make_inputs(model, SIZE, 2))
    torch.compiler.reset()
    assert kernels.allowed == {(16, 16, "math"), (16, 24, "flash")}
    assert torch.allclose(noise, call(model), atol=1e-5)


def test_the_fastest_is_used_and_told(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {TO_ITSELF: {"flash": [2.0], "math": [3.0, 1.0]}, TO_THE_TEXT: {"flash": [1.0], "math": [2.0]}}
    monkeypatch.setattr(fastest_attention, "survey", lambda _model, _size, _rows: seconds)
    told: list[str] = []
    use_fastest(model, [SIZE], 4, told.append)
    assert told == ["timing the kernels of attention", "attention: math for 16 to 16, flash for 16 to 24"]
    with Kernels() as kernels:
        call(model)
    assert kernels.allowed == {(16, 16, "math"), (16, 24, "flash")}


def test_where_no_kernel_can_be_named_pytorch_chooses() -> None:
    assert in_words({}) == "left to PyTorch"


def test_rows_that_memory_does_not_hold_are_halved(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def survey_few(_model: Model, _size: tuple[int, int], rows: int) -> dict[AttentionShape, dict[str, list[float]]]:
        tried.append(rows)
        if rows > 2:
            raise torch.OutOfMemoryError("out of memory")
        return {TO_ITSELF: {"math": [1.0]}}

    monkeypatch.setattr(fastest_attention, "survey", survey_few)
    use_fastest(model, [SIZE], 8, lambda _: None)
    assert tried == [8, 4, 2]


def test_what_one_row_does_not_fit_into_is_told(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(fastest_attention, "survey", fail)
    with pytest.raises(torch.OutOfMemoryError):
        use_fastest(model, [SIZE], 2, lambda _: None)
