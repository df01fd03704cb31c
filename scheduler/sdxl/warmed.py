"""A network made ready for a few shapes: its rows are padded to the next number that it is ready for."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from scheduler.padding import padded

Network: TypeAlias = Callable[..., Any]
"""Tensors that have as many rows each -> one such tensor, or a structure of them. No row sees another."""

Call: TypeAlias = Callable[[], Any]
"""A network with its inputs in buffers."""

Prepare: TypeAlias = Callable[[Call], Call]
"""Makes a call faster that has run once."""


class Warmed:
    """`fast` in the shapes that `warm` made ready, in all others `plain`. Both need `torch.inference_mode`.

    So a shape that nobody thought of costs the speed of its own steps, and never a minute in which all wait for a
    compiler.
    """

    def __init__(self, plain: Network, fast: Network, prepare: Prepare) -> None:
        self._plain = plain
        self._fast = fast
        self._prepare = prepare
        self._ready: dict[Any, dict[int, FixedRows]] = {}

    def warm(self, *inputs: Tensor) -> None:
        """For such tensors, and for fewer rows as far as no lower number is made ready."""
        kind = _kind(inputs)
        ready = self._ready.get(kind, {}) | {len(inputs[0]): FixedRows(self._fast, inputs, self._prepare)}
        self._ready[kind] = dict(sorted(ready.items()))

    def __call__(self, *inputs: Tensor) -> Any:
        ready = self._ready.get(_kind(inputs), {})
        fixed = ready.get(padded(len(inputs[0]), tuple(ready)))
        return self._plain(*inputs) if fixed is None else fixed(*inputs)


class FixedRows:
    """A network at one number of rows.

    Inputs are copied to the front of buffers. Behind them is what an earlier call left there, and what comes of that is
    cut off.
    """

    def __init__(self, network: Network, inputs: Sequence[Tensor], prepare: Prepare) -> None:
        self._buffers = [each.clone() for each in inputs]
        call = partial(network, *self._buffers)
        call()
        self._call = prepare(call)

    def __call__(self, *inputs: Tensor) -> Any:
        num_rows = len(inputs[0])
        for buffer, tensor in zip(self._buffers, inputs, strict=True):
            buffer[:num_rows].copy_(tensor)
        return tree_map_only(Tensor, lambda result: result[:num_rows], self._call())


def _kind(inputs: Sequence[Tensor]) -> tuple[tuple[torch.Size, torch.dtype], ...]:
    """All but the number of rows."""
    return tuple((each.shape[1:], each.dtype) for each in inputs)
