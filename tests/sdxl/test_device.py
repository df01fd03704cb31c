"""The device and dtype that are chosen, and the faults told."""

from pathlib import Path

import pytest
import torch

from scheduler.engine import LoadError
from scheduler.sdxl.device import choose_device, choose_dtype, notes, runs_on

CPU = torch.device("cpu")
needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")


def have_cards(
    monkeypatch: pytest.MonkeyPatch, count: int = 1, capability: tuple[int, int] = (9, 0), built_for: str = "sm_90"
) -> None:
    """As PyTorch would tell of them."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "GeForce")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built_for.split())


def have_a_driver(monkeypatch: pytest.MonkeyPatch, complaint: str | None) -> None:
    """A PyTorch with CUDA that finds no card, for that reason."""

    def init() -> None:
        if complaint:
            raise RuntimeError(complaint)

    have_cards(monkeypatch, count=0)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", init)


def test_auto_takes_the_best_device(monkeypatch: pytest.MonkeyPatch) -> None:
    have_cards(monkeypatch)
    for cuda, mps, best in ((True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert choose_device("auto").type == best


def test_workers_share_the_cards_out_unless_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    have_cards(monkeypatch, count=2)
    for wanted in ("auto", "cuda"):
        assert [str(choose_device(wanted, index)) for index in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert str(choose_device("cuda:1", index=0)) == "cuda:1"
    assert str(choose_device("cpu", index=1)) == "cpu"


@pytest.mark.parametrize("wanted", ["toaster", "cpu:x", "meta", ""])
def test_an_unknown_device_is_refused(wanted: str) -> None:
    with pytest.raises(LoadError, match=r"unknown device .* use --device"):
        choose_device(wanted)


@needs_no_gpu
@pytest.mark.parametrize("wanted", ["cuda", "cuda:1", "mps"])
def test_a_device_that_is_not_there_is_refused(wanted: str) -> None:
    with pytest.raises(LoadError, match=rf"no device '{wanted}'.* use --device auto or cpu"):
        choose_device(wanted)


@pytest.mark.parametrize(
    ("features", "dtype"),
    [
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"avx512_f": True, "avx512_bf16": False}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_a_cpu_gets_bfloat16_where_it_has_it(
    features: dict[str, bool], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features, raising=False)
    assert choose_dtype("auto", CPU) == dtype


def test_a_dtype_asked_for_is_taken() -> None:
    assert choose_dtype("float32", CPU) == torch.float32
    assert choose_dtype("bfloat16", CPU) == torch.bfloat16
    assert choose_dtype("float16", torch.device("mps")) == torch.float16


@pytest.mark.parametrize("wanted", ["float16", "int8"])
def test_a_dtype_the_device_lacks_is_refused(wanted: str) -> None:
    with pytest.raises(LoadError, match="use --dtype auto, "):
        choose_dtype(wanted, CPU)


def refusal(wanted: str) -> str:
    with pytest.raises(LoadError) as caught:
        choose_device(wanted)
    return str(caught.value)


def test_a_card_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    have_cards(monkeypatch, count=2)
    assert refusal("cuda:2") == "no device 'cuda:2': PyTorch sees 2 CUDA devices here; use --device auto or cpu"


TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by downloading "
    "and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx"
)


@pytest.mark.parametrize(
    ("complaint", "reason"),
    [
        (TOO_OLD, "The NVIDIA driver on your system is too old (found version 11040)"),
        ("No CUDA GPUs are available", "No CUDA GPUs are available"),
        ("Unexpected error from cudaGetDeviceCount()\nmore of it", "Unexpected error from cudaGetDeviceCount()"),
        (None, "PyTorch sees 0 CUDA devices here"),
    ],
)
def test_a_card_that_cannot_be_used(complaint: str | None, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    have_a_driver(monkeypatch, complaint)
    assert refusal("cuda") == f"no device 'cuda': {reason}; use --device auto or cpu"
    assert notes("auto", CPU, "auto", torch.float32) == [f"running on the CPU: {reason}"]
    assert notes("cpu", CPU, "auto", torch.float32) == []


def test_a_pytorch_without_cuda(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    have_cards(monkeypatch, count=0)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    assert "'cuda': this PyTorch is built without CUDA, see https://pytorch.org/get-started/locally" in refusal("cuda")
    monkeypatch.setattr("scheduler.sdxl.device.DRIVER", tmp_path / "version")
    assert notes("auto", CPU, "auto", torch.float32) == []
    (tmp_path / "version").touch()
    assert "running on the CPU: this PyTorch is built without CUDA" in notes("auto", CPU, "auto", torch.float32)[0]


def test_a_card_that_this_pytorch_has_no_code_for(monkeypatch: pytest.MonkeyPatch) -> None:
    have_cards(monkeypatch, capability=(6, 1), built_for="sm_75 sm_80 compute_120")
    assert refusal("cuda") == (
        "this PyTorch has no code for GeForce, of compute capability 6.1: install one that has, or use --device cpu"
    )


@pytest.mark.parametrize(
    ("capability", "built_for", "runs"),
    [
        ((9, 0), "sm_80 sm_90a", True),
        ((8, 9), "sm_80 sm_86 sm_90", True),
        ((8, 0), "sm_86 sm_90", False),
        ((12, 0), "sm_80 sm_90 compute_90", True),
        ((12, 0), "sm_80 sm_90", False),
        ((12, 0), "sm_120", True),
        ((9, 4), "gfx942", True),
    ],
)
def test_code_runs_on_what_it_was_built_for(capability: tuple[int, int], built_for: str, runs: bool) -> None:
    assert runs_on(capability, built_for.split()) is runs


@pytest.mark.parametrize(("has_bfloat16", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_an_old_card_gets_float16_and_that_is_told(
    has_bfloat16: bool,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scheduler.sdxl.device._cuda_has_bfloat16", lambda _: has_bfloat16)
    card = torch.device("cuda:0")
    assert choose_dtype("auto", card) == dtype
    told = [] if has_bfloat16 else ["this card has no bfloat16: running in float16"]
    assert notes("auto", card, "auto", dtype) == told
    assert notes("auto", card, "float16", torch.float16) == []


def test_an_old_card_is_not_asked_for_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.sdxl.device._cuda_has_bfloat16", lambda _: False)
    with pytest.raises(LoadError, match="this card has no bfloat16: use --dtype auto, float16 or float32"):
        choose_dtype("bfloat16", torch.device("cuda:0"))
