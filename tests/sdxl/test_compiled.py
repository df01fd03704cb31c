"""torch.compile with PyTorch's own compiler, for a network that is compiled in seconds."""

from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter
from torch.nn.functional import gelu, layer_norm

from scheduler.sdxl.compiled import compiled, many_shapes, never_again, searching
from scheduler.sdxl.speedups import COMPILERS
from scheduler.sdxl.warmed import Warmed
from tests.tools import require_tool

# What PyTorch says of itself when its compiler is imported, and what 2.6 says of its own settings.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Skipping serialization of skipfiles_inline_module_allowlist:UserWarning"),
]


@pytest.fixture(autouse=True)
def fresh() -> None:
    """No test finds what another compiled."""
    torch.compiler.reset()


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compiles anew, and nothing beforehand that only pays for many networks."""
    require_tool(*COMPILERS)
    config = import_module("torch._inductor.config")  # here, because to load it takes a second; the versions' differ
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    wanted = {"cpp_cache_precompile_headers": False, "compile_threads": 1}
    with config.patch({name: value for name, value in wanted.items() if hasattr(config, name)}):
        yield


def network(x: Tensor) -> Tensor:
    return gelu(layer_norm(x, x.shape[1:])) * 2


def unused(x: Tensor) -> Tensor:
    raise AssertionError(f"{len(x)} rows run as they are")


@pytest.mark.usefixtures("compiler")
@torch.inference_mode()
def test_compiled_and_padded_it_gives_the_same() -> None:
    warmed = Warmed(unused, compiled(network, "default"), never_again)
    warmed.warm(torch.zeros(4, 32))
    for rows in (4, 1):
        x = torch.randn(rows, 32)
        assert torch.allclose(warmed(x), network(x), atol=1e-5)


def test_off_leaves_it_as_it_is() -> None:
    assert compiled(network, "off") is network


def test_each_shape_is_compiled_once_however_many_there_are() -> None:
    counter = CompileCounter()
    fast = torch.compile(network, backend=counter, dynamic=False)
    inputs = [torch.zeros(rows, 32) for rows in range(1, 11)]
    with torch.inference_mode(), many_shapes():
        for each in inputs:
            fast(each)
    with torch.inference_mode():
        for each in inputs:
            never_again(partial(fast, each))()
    assert counter.frame_count == 10


def test_what_would_be_compiled_again_runs_as_it_was_written() -> None:
    counter = CompileCounter()
    fast = torch.compile(network, backend=counter, dynamic=False)
    inputs = torch.zeros(2, 32)
    call = never_again(lambda: fast(inputs))
    fast(inputs)
    inputs.resize_(3, 32)
    assert call().shape == (3, 32)
    assert counter.frame_count == 1


def test_cudnn_searches_inside_only() -> None:
    cudnn: Any = torch.backends.cudnn  # untyped
    assert searching(lambda: cudnn.benchmark)() is True
    assert cudnn.benchmark is False


def test_cudnn_searches_no_longer_where_a_call_fails() -> None:
    cudnn: Any = torch.backends.cudnn  # untyped
    with pytest.raises(ZeroDivisionError):
        searching(lambda: 1 / 0)()
    assert cudnn.benchmark is False
