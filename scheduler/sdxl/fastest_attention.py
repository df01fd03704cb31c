"""The fastest of PyTorch's attention kernels for each shape that a UNet has, found by timing them at start."""

import math
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from scheduler.sdxl.attention import KERNELS
from scheduler.sdxl.memory import is_out_of_memory
from scheduler.sdxl.networks import on_rows, unet_inputs
from scheduler.sdxl.weights import Model

CANDIDATES = {"cuda": ("flash", "cudnn", "efficient"), "cpu": ("flash", "math")}
"""By kind of device; on a card `math` needs memory for every pair of tokens, and is never the fastest."""
ROUNDS = 3
LEAST_SECONDS = 0.01
"""That one figure is taken over, as far as `MOST_CALLS` go."""
MOST_CALLS = 50

Progress = Callable[[str], None]


class AttentionShape(NamedTuple):
    """One attention, whatever the number of rows; queries and keys in tokens."""

    heads: int
    queries: int
    keys: int
    head_dim: int


Timed = Mapping[AttentionShape, Mapping[str, Sequence[float]]]
"""Seconds of one attention by kernel, of those that can be used; one figure a round."""


def use_fastest(model: Model, sizes: Sequence[tuple[int, int]], rows: int, progress: Progress) -> None:
    """Times the kernels in steps of so many rows, and changes the UNet in place. Other shapes are left to PyTorch."""
    progress("timing the kernels of attention")
    timed = {shape: by_kind for size in sizes for shape, by_kind in _survey_fitting(model, size, rows).items()}
    chosen = {shape: _fastest(by_kind) for shape, by_kind in timed.items() if by_kind}
    progress(f"attention: {in_words(chosen)}")
    unet = model.pipe.unet
    unet.set_attn_processor({name: FastestAttention(each, chosen) for name, each in unet.attn_processors.items()})


def _fastest(seconds: Mapping[str, Sequence[float]]) -> str:
    return min(seconds, key=lambda kind: min(seconds[kind]))


def in_words(chosen: Mapping[AttentionShape, str]) -> str:
    """`flash for 4096 to 4096 and 1024 to 1024, cudnn for 4096 to 77`; in tokens."""
    shapes: dict[str, list[str]] = defaultdict(list)
    for shape, kind in chosen.items():
        shapes[kind].append(f"{shape.queries} to {shape.keys}")
    return ", ".join(f"{kind} for {' and '.join(each)}" for kind, each in shapes.items()) or "left to PyTorch"


class FastestAttention:
    """An attention processor of diffusers that runs another one in the kernel chosen for the shape."""

    def __init__(self, inner: Callable[..., Tensor], chosen: Mapping[AttentionShape, str]) -> None:
        self._inner = inner
        self._kernels = {tuple(shape): KERNELS[kind] for shape, kind in chosen.items()}

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **more: Any
    ) -> Tensor:
        """[rows, queries, channels], [rows, keys, channels] -> as the first."""
        queries = hidden_states.shape[1]
        keys = queries if encoder_hidden_states is None else encoder_hidden_states.shape[1]
        kernel = self._kernels.get((attn.heads, queries, keys, attn.inner_dim // attn.heads))
        if kernel is None:
            return self._inner(attn, hidden_states, encoder_hidden_states, **more)
        with sdpa_kernel(kernel):
            return self._inner(attn, hidden_states, encoder_hidden_states, **more)


@torch.inference_mode()
def survey(model: Model, size: tuple[int, int], rows: int) -> Timed:
    """Every attention of a UNet call for pictures of that width and height, timed as it lies in memory there."""
    inputs = [torch.randn(shape, device=model.device).to(dtype) for shape, dtype in unet_inputs(model.pipe, size, rows)]
    timing = _TimeAttention()
    with timing:
        on_rows(model.pipe.unet.forward)(*inputs)
    return timing.timed


def _survey_fitting(model: Model, size: tuple[int, int], rows: int) -> Timed:
    """With half as many rows where memory does not hold them. Raises what one row raises."""
    try:
        return survey(model, size, rows)
    except RuntimeError as error:
        if rows == 1 or not is_out_of_memory(error):
            raise
    return _survey_fitting(model, size, rows // 2)


class _TimeAttention(TorchFunctionMode):
    """Inside, every attention of a new shape is timed before it is done."""

    def __init__(self) -> None:
        super().__init__()
        self.timed: dict[AttentionShape, dict[str, list[float]]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is scaled_dot_product_attention:
            query, key, value = args[:3]
            shape = AttentionShape(query.shape[1], query.shape[2], key.shape[2], query.shape[3])
            if shape not in self.timed:
                self.timed[shape] = _time_kernels(query, key, value)
        return func(*args, **(kwargs or {}))


def _time_kernels(query: Tensor, key: Tensor, value: Tensor) -> dict[str, list[float]]:
    """Seconds by kernel, which take turns."""
    attend = partial(scaled_dot_product_attention, query, key, value)
    works = {kind: partial(_repeat, kind, attend) for kind in CANDIDATES.get(query.device.type, ())}
    able = {kind: work for kind, work in works.items() if _works(work)}
    calls = {kind: min(MOST_CALLS, math.ceil(LEAST_SECONDS / _seconds(work, 1))) for kind, work in able.items()}
    rounds = [{kind: _seconds(work, calls[kind]) for kind, work in able.items()} for _ in range(ROUNDS)]
    return {kind: [each[kind] for each in rounds] for kind in able}


def _repeat(kind: str, attend: Callable[[], Tensor], calls: int) -> Tensor:
    """To name the kernel takes the program longer than a small attention takes the device: once for all calls."""
    with sdpa_kernel(KERNELS[kind]):
        return [attend() for _ in range(calls)][-1]


def _works(work: Callable[[int], Tensor]) -> bool:
    """Whether the kernel takes such tensors; PyTorch warns of every reason why it does not."""
    with warnings.catch_warnings(action="ignore"):
        try:
            _wait(work(1))
        except RuntimeError:
            return False
    return True


def _seconds(work: Callable[[int], Tensor], calls: int) -> float:
    """Of one call."""
    began = time.perf_counter()
    _wait(work(calls))
    return (time.perf_counter() - began) / calls


def _wait(result: Tensor) -> None:
    if result.device.type != "cpu":
        torch.accelerator.synchronize(result.device)
