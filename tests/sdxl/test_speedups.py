"""The ladder: with each rung a request gets what a lone pipeline call gives, or the start says why it cannot be had."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from scheduler.engine import LoadError
from scheduler.messages import Speedups, WorkerConfig
from scheduler.sdxl import fastest_attention, float8, speedups
from scheduler.sdxl.float8 import Float8Linear
from scheduler.sdxl.speedups import apply
from scheduler.sdxl.weights import Model, load_model
from tests.sdxl.conftest import LoadEngine
from tests.sdxl.drive import Driver, make_request
from tests.sdxl.oracle import Oracle, assert_all_own

RUNGS = [
    {"channels_last": True},
    {"fuse_qkv": True},
    {"attention": "flash"},
    {"attention": "math"},
    {"attention": "fastest"},
    {"channels_last": True, "fuse_qkv": True, "attention": "fastest"},
]


def load(folder: Path, dtype: str = "float32") -> Model:
    config = WorkerConfig(model=str(folder), device="cpu", dtype=dtype)  # type: ignore[arg-type]
    return load_model(config, lambda _: None)


@pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: "+".join(rung))
def test_a_rung_gives_the_pictures_of_lone_calls(
    rung: dict[str, object],
    load_engine: LoadEngine,
    tiny_sdxl: Path,
    tiny_oracle: Oracle,
    batching: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = load_engine(tiny_sdxl, batching=batching, speedups=Speedups(**rung))  # type: ignore[arg-type]
    joins = {0: [make_request("a", seed=1), make_request("b", prompt="a blue boat", seed=2)], 1: [make_request("c")]}
    driver = Driver(engine, monkeypatch)
    driver.run(joins)
    assert_all_own(driver, joins.values(), tiny_oracle)


def test_nothing_asked_for_changes_nothing(tiny_sdxl: Path) -> None:
    model = load(tiny_sdxl)
    assert apply(model, Speedups(), max_rows=8) is model
    assert "forward" not in vars(model.pipe.unet)


def test_channels_come_last_in_every_network(tiny_sdxl: Path) -> None:
    model = apply(load(tiny_sdxl), Speedups(channels_last=True), max_rows=8)
    for network in (model.pipe.unet, model.pipe.vae, model.tiny_vae):
        convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
        assert all(layer.weight.is_contiguous(memory_format=torch.channels_last) for layer in convolutions)


def test_fused_projections_keep_no_weight_twice(tiny_sdxl: Path) -> None:
    plain, fused = load(tiny_sdxl), apply(load(tiny_sdxl), Speedups(fuse_qkv=True), max_rows=8)
    sizes = [sum(weight.numel() for weight in model.pipe.unet.parameters()) for model in (plain, fused)]
    assert sizes[0] == sizes[1]
    names = {name.rpartition(".")[2] for name, _ in fused.pipe.unet.named_modules()}
    assert {"to_qkv", "to_kv", "to_q"} <= names  # the last for the attention to the text
    assert not {"to_k", "to_v"} & names


def test_attention_is_timed_for_the_sizes_that_matter_with_all_rows(
    tiny_sdxl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    surveyed: list[tuple[tuple[int, int], int]] = []

    def note(_: Model, size: tuple[int, int], rows: int) -> dict[object, object]:
        surveyed.append((size, rows))
        return {}

    monkeypatch.setattr(fastest_attention, "survey", note)
    for sizes in ((), ((64, 128), (72, 72))):
        apply(load(tiny_sdxl), Speedups(attention="fastest", warm_sizes=sizes), max_rows=8)
    assert surveyed == [((64, 64), 8), ((64, 128), 8), ((72, 72), 8)]


@pytest.mark.usefixtures("needs_float8")
def test_float8_is_for_the_fused_projections_too(tiny_sdxl: Path) -> None:
    model = apply(load(tiny_sdxl, "bfloat16"), Speedups(float8=True, fuse_qkv=True), max_rows=8)
    changed = {
        name.rpartition(".")[2] for name, layer in model.pipe.unet.named_modules() if isinstance(layer, Float8Linear)
    }
    assert {"to_qkv", "to_kv", "to_q"} <= changed


REFUSED = [
    (Speedups(cuda_graphs=True), "--cuda-graphs needs a CUDA device, the model is on cpu: leave it out"),
    (Speedups(attention="cudnn"), "--attention cudnn needs a CUDA device, the model is on cpu: use auto"),
    (Speedups(attention="efficient"), "--attention efficient needs a CUDA device, the model is on cpu: use auto"),
    (
        Speedups(cudnn_benchmark=True, compile="default"),
        "--cudnn-benchmark is for what --compile or --cuda-graphs make ready on a CUDA device: leave it out",
    ),
    (Speedups(float8=True), "--float8 needs --dtype bfloat16, the model is in float32"),
    (
        Speedups(compile="default", warm_sizes=((64, 64), (64, 100))),
        "--warm-sizes 64x100: both sides must be multiples of 8 from 64 to 128",
    ),
]


@pytest.mark.parametrize(("wanted", "line"), REFUSED, ids=[line.partition(":")[0] for _, line in REFUSED])
def test_what_cannot_be_had_is_refused_in_one_line(wanted: Speedups, line: str, tiny_sdxl: Path) -> None:
    with pytest.raises(LoadError) as caught:
        apply(load(tiny_sdxl), wanted, max_rows=8)
    assert str(caught.value) == line


def test_without_a_compiler_the_refusal_says_what_to_install(tiny_sdxl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(LoadError, match=r"--compile needs a C\+\+ compiler \(g\+\+, clang\+\+, c\+\+\): install one"):
        apply(load(tiny_sdxl), Speedups(compile="default"), max_rows=8)


def test_without_pythons_headers_too(tiny_sdxl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speedups, "get_path", lambda _: str(tmp_path))
    with pytest.raises(LoadError, match=r"--compile on a CPU needs Python\.h \(in Debian, from python3-dev\)"):
        apply(load(tiny_sdxl), Speedups(compile="default"), max_rows=8)


def on_cuda(model: Model, dtype: torch.dtype = torch.bfloat16) -> Model:
    """As if it were on a card; nothing of it is."""
    fields = {name: getattr(model, name) for name in Model.__slots__}
    return Model(**(fields | {"device": torch.device("cuda", 0), "dtype": dtype}))


def test_an_old_card_has_no_float8(tiny_sdxl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    with pytest.raises(LoadError, match=r"--float8 needs a card of compute capability 8\.9 or higher"):
        apply(on_cuda(load(tiny_sdxl, "bfloat16")), Speedups(float8=True), max_rows=8)


def test_a_pytorch_without_float8_is_told(tiny_sdxl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: object, **__: object) -> None:
        raise NotImplementedError("Could not run 'aten::_scaled_mm' with arguments from the 'CPU' backend")

    monkeypatch.setattr(float8, "multiply", lacking)
    monkeypatch.setattr(torch, "__version__", "2.6.0")
    with pytest.raises(LoadError) as caught:
        apply(load(tiny_sdxl, "bfloat16"), Speedups(float8=True), max_rows=8)
    assert str(caught.value) == (
        "--float8 on cpu fails with PyTorch 2.6.0: take another, or leave it out "
        "(NotImplementedError: Could not run 'aten::_scaled_mm' with arguments from the 'CPU' backend)"
    )


def test_a_pytorch_that_cannot_trace_text_encoders_is_told(tiny_sdxl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(tiny_sdxl)
    monkeypatch.delattr(torch.compiler, "is_exporting", raising=False)
    monkeypatch.setattr(torch, "__version__", "2.6.0")
    with pytest.raises(LoadError, match=r"--warm-text with --compile needs a newer PyTorch than 2\.6\.0: take one"):
        apply(model, Speedups(compile="default", warm_text=True), max_rows=8)


def test_without_triton_a_card_has_no_compiler(tiny_sdxl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speedups, "find_spec", lambda _: None)
    with pytest.raises(LoadError, match="--compile needs triton on a CUDA device: pip install triton"):
        apply(on_cuda(load(tiny_sdxl)), Speedups(compile="default"), max_rows=8)


def test_flash_attention_is_for_half_precision_on_a_card(tiny_sdxl: Path) -> None:
    with pytest.raises(LoadError, match="--attention flash needs --dtype bfloat16 or float16"):
        apply(on_cuda(load(tiny_sdxl), torch.float32), Speedups(attention="flash"), max_rows=8)


def test_cudnn_searches_only_for_what_is_made_ready(tiny_sdxl: Path) -> None:
    with pytest.raises(LoadError, match="--cudnn-benchmark is for what --compile or --cuda-graphs make ready"):
        apply(on_cuda(load(tiny_sdxl)), Speedups(cudnn_benchmark=True), max_rows=8)
