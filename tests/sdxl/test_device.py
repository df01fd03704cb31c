"""The device and dtype that are chosen, and the faults told."""

import pytest
import torch

from scheduler.engine import LoadError
from scheduler.sdxl.device import choose_device, choose_dtype

CPU = torch.device("cpu")
needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")


def test_auto_takes_the_best_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for cuda, mps, best in ((True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert choose_device("auto").type == best


def test_workers_share_the_cards_out_unless_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
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
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features)
    assert choose_dtype("auto", CPU) == dtype


def test_a_dtype_asked_for_is_taken() -> None:
    assert choose_dtype("float32", CPU) == torch.float32
    assert choose_dtype("bfloat16", CPU) == torch.bfloat16
    assert choose_dtype("float16", torch.device("mps")) == torch.float16


@pytest.mark.parametrize("wanted", ["float16", "int8"])
def test_a_dtype_the_device_lacks_is_refused(wanted: str) -> None:
    with pytest.raises(LoadError, match="use --dtype auto, "):
        choose_dtype(wanted, CPU)
