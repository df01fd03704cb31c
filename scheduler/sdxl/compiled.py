"""torch.compile, for shapes that do not vary."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from scheduler.sdxl.warmed import Call, Network

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
    with config.patch(recompile_limit=MOST_SHAPES, accumulated_recompile_limit=MOST_SHAPES):
        yield


def never_again(call: Call) -> Call:
    """A compiled call that would rather run as it was written than be compiled once more."""

    def run() -> Any:
        with torch.compiler.set_stance("eager_on_recompile"):
            return call()

    return run
