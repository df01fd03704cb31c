"""What makes a loaded model faster: a ladder of rungs, each of which works by itself and can be left out."""

import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from sysconfig import get_path
from typing import Any

import torch

from scheduler.engine import LoadError
from scheduler.messages import Speedups
from scheduler.sdxl.attention import KERNELS, with_attention
from scheduler.sdxl.compiled import texts_compile
from scheduler.sdxl.fastest_attention import CANDIDATES, use_fastest
from scheduler.sdxl.float8 import CAPABILITY, use_float8, what_is_wrong
from scheduler.sdxl.warming import make_ready, warm_sizes
from scheduler.sdxl.weights import MIN_SIZE, Model

COMPILERS = ("g++", "clang++", "c++")

Progress = Callable[[str], None]


def apply(model: Model, speedups: Speedups, *, max_rows: int, progress: Progress = lambda _: None) -> Model:
    """The same model with its networks changed in place. `max_rows`: of a step. Raises `LoadError`."""
    if reason := next(_reasons(model, speedups), None):
        raise LoadError(reason)
    if speedups.channels_last:
        for network in (model.pipe.unet, model.pipe.vae, model.tiny_vae):
            network.to(memory_format=torch.channels_last)
    if speedups.fuse_qkv:
        fuse_qkv(model.pipe.unet)
    if speedups.float8:
        use_float8(model.pipe.unet)
    if speedups.attention == "fastest":
        use_fastest(model, warm_sizes(model, speedups), max_rows, progress)
    if speedups.compile != "off" or speedups.cuda_graphs:
        return make_ready(model, speedups, max_rows, progress)
    if speedups.attention in KERNELS:
        model.pipe.unet.forward = with_attention(model.pipe.unet.forward, speedups.attention)
    return model


def fuse_qkv(unet: Any) -> None:
    """One multiplication for query, key and value. The separate weights, which take as much memory again, go."""
    unet.fuse_qkv_projections()
    for layer in unet.modules():
        if hasattr(layer, "to_qkv"):
            del layer.to_q, layer.to_k, layer.to_v
        elif hasattr(layer, "to_kv"):
            del layer.to_k, layer.to_v


def _reasons(model: Model, speedups: Speedups) -> Iterator[str]:
    """What this device, dtype or machine does not have, with what to do about it."""
    is_cuda = model.device.type == "cuda"
    if speedups.cuda_graphs and not is_cuda:
        yield f"--cuda-graphs needs a CUDA device, the model is on {model.device}: leave it out"
    if speedups.attention == "fastest" and model.device.type not in CANDIDATES:
        yield "--attention fastest is for CUDA devices and CPUs: use auto"
    if speedups.attention in ("cudnn", "efficient") and not is_cuda:
        yield f"--attention {speedups.attention} needs a CUDA device, the model is on {model.device}: use auto"
    if speedups.attention in ("flash", "cudnn") and is_cuda and model.dtype == torch.float32:
        yield f"--attention {speedups.attention} needs --dtype bfloat16 or float16"
    if speedups.cudnn_benchmark and not (is_cuda and (speedups.cuda_graphs or speedups.compile != "off")):
        yield "--cudnn-benchmark is for what --compile or --cuda-graphs make ready on a CUDA device: leave it out"
    if speedups.float8 and model.dtype != torch.bfloat16:
        yield f"--float8 needs --dtype bfloat16, the model is in {model.dtype_name}"
    if speedups.float8 and is_cuda and torch.cuda.get_device_capability(model.device) < CAPABILITY:
        yield "--float8 needs a card of compute capability 8.9 or higher (Ada, Hopper, Blackwell): leave it out"
    if speedups.compile != "off":
        yield from _lacking(model.device)
    yield from _too_old(model, speedups)
    yield from (reason for size in speedups.warm_sizes if (reason := _wrong_size(model, *size)))


def _lacking(device: torch.device) -> Iterator[str]:
    """Of what torch.compile needs."""
    if device.type == "mps":
        yield "--compile is for CUDA devices and CPUs: leave it out"
    if not any(map(shutil.which, COMPILERS)):
        yield f"--compile needs a C++ compiler ({', '.join(COMPILERS)}): install one, or leave it out"
    if device.type == "cpu" and not Path(get_path("include"), "Python.h").exists():
        yield "--compile on a CPU needs Python.h (in Debian, from python3-dev): install it, or leave it out"
    if device.type == "cuda" and find_spec("triton") is None:
        yield "--compile needs triton on a CUDA device: pip install triton, or leave it out"


def _too_old(model: Model, speedups: Speedups) -> Iterator[str]:
    """What this PyTorch cannot do, or not on this device."""
    if speedups.float8 and (reason := what_is_wrong(model.device)):
        version = f"PyTorch {torch.__version__}"
        yield f"--float8 on {model.device} fails with {version}: take another, or leave it out ({reason})"
    if speedups.compile != "off" and speedups.warm_text and not texts_compile():
        yield f"--warm-text with --compile needs a newer PyTorch than {torch.__version__}: take one, or leave it out"


def _wrong_size(model: Model, width: int, height: int) -> str | None:
    multiple, most = model.size_multiple, model.max_size
    if all(side % multiple == 0 and MIN_SIZE <= side <= most for side in (width, height)):
        return None
    return f"--warm-sizes {width}x{height}: both sides must be multiples of {multiple} from {MIN_SIZE} to {most}"
