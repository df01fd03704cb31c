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


def _on(speedups: Speedups, **changes: object) -> Speedups:
    return msgspec.structs.replace(speedups, **changes)


RUNGS: dict[str, Rung] = {
    "eager": Rung(Speedups()),
    "float32": Rung(Speedups(), "eager", dtype="float32"),
    "float16": Rung(Speedups(), "eager", dtype="float16"),
    "channels_last": Rung(Speedups(channels_last=True), "eager"),
    "fused QKV": Rung(_FUSED, "channels_last"),
    "flash attention": Rung(_on(_FUSED, attention="flash"), "fused QKV"),
    "cuDNN attention": Rung(_on(_FUSED, attention="cudnn"), "fused QKV"),
    "efficient attention": Rung(_on(_FUSED, attention="efficient"), "fused QKV"),
    "CUDA graphs": Rung(_on(_FUSED, cuda_graphs=True), "fused QKV"),
    "compile": Rung(_on(_FUSED, compile="default"), "fused QKV"),
    "compile, CUDA graphs": Rung(_on(_FUSED, compile="default", cuda_graphs=True), "compile"),
    "max-autotune": Rung(_on(_FUSED, compile="max-autotune"), "compile"),
    "float8": Rung(_on(_FUSED, compile="default", float8=True), "compile"),
}
