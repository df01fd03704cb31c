"""The ladder: what makes the UNet faster, one rung at a time, each beside the one that it stands on."""

from dataclasses import dataclass

import msgspec

from scheduler.messages import Speedups


@dataclass(frozen=True, slots=True)
class Rung:
    """`below` is the rung that this one is compared with, None for the ground. `dtype` None is the lab's own."""

    speedups: Speedups
    below: str | None = None
    dtype: str | None = None


_FUSED = Speedups(channels_last=True, fuse_qkv=True)
_FASTEST = Speedups(channels_last=True, fuse_qkv=True, attention="fastest")
_COMPILED = Speedups(channels_last=True, fuse_qkv=True, attention="fastest", compile="default")


def _on(speedups: Speedups, **changes: object) -> Speedups:
    return msgspec.structs.replace(speedups, **changes)


RUNGS: dict[str, Rung] = {
    "eager": Rung(Speedups()),
    "float32": Rung(Speedups(), "eager", dtype="float32"),
    "float16": Rung(Speedups(), "eager", dtype="float16"),
    "channels_last": Rung(Speedups(channels_last=True), "eager"),
    "fused QKV": Rung(_FUSED, "channels_last"),
    "fastest attention": Rung(_FASTEST, "fused QKV"),
    "CUDA graphs": Rung(_on(_FASTEST, cuda_graphs=True), "fastest attention"),
    "compile": Rung(_COMPILED, "fastest attention"),
    "compile, channels first": Rung(_on(_COMPILED, channels_last=False), "compile"),
    "compile, PyTorch's attention": Rung(_on(_COMPILED, attention="auto"), "compile"),
    "compile, cuDNN's search": Rung(_on(_COMPILED, cudnn_benchmark=True), "compile"),
    "compile, CUDA graphs": Rung(_on(_COMPILED, cuda_graphs=True), "compile"),
    "max-autotune": Rung(_on(_COMPILED, compile="max-autotune"), "compile"),
    "float8": Rung(_on(_COMPILED, float8=True), "compile"),
}
