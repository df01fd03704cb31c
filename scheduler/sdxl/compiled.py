"""What is made faster for shapes that do not vary: by torch.compile, and by cuDNN's own search."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from scheduler.sdxl.warmed import Call, Network

cudnn: Any = torch.backends.cudnn  # untyped

MODES = {"default": "default", "max-autotune": "max-autotune-no-cudagraphs"}  # graphs are captured by `captured.py`
MOST_SHAPES = 256  # for which one function may be compiled; PyTorch gives up at 8


def compiled(network: Network, kind: str) -> Network:
    """Compiled when it is called, anew for every shape. "off" leaves it as it is."""
    if kind == "off":
        return network
    fast: Network = torch.compile(network, mode=MODES[kind], dynamic=False)
    return fast


@contextmanager
def many_shapes() -> Iterator[None]:
    """Inside, functions may be compiled for many shapes."""
    config: Any = torch._dynamo.config  # untyped; named here, because to load it takes a second
    limit = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"  # so in PyTorch 2.6
    with config.patch({limit: MOST_SHAPES, f"accumulated_{limit}": MOST_SHAPES}):
        yield


def texts_compile() -> bool:
    """Whether PyTorch has what transformers calls while it is traced; 2.6 lacks it."""
    return hasattr(torch.compiler, "is_exporting")


def never_again(call: Call) -> Call:
    """A compiled call that would rather run as it was written than be compiled once more."""

    def run() -> Any:
        with torch.compiler.set_stance("eager_on_recompile"):
            return call()

    return run


def searching(network: Network) -> Network:
    """cuDNN times its kernels when it first sees a shape, and takes the fastest: for shapes that are made ready."""

    def run(*args: Any, **kwargs: Any) -> Any:
        before, cudnn.benchmark = cudnn.benchmark, True
        try:
            return network(*args, **kwargs)
        finally:
            cudnn.benchmark = before

    return run
