"""Which device, and which dtype on it."""

from collections.abc import Mapping

import torch

from scheduler.engine import LoadError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(wanted: str, index: int = 0) -> torch.device:
    """ "auto", "cpu", "cuda", "cuda:1" or "mps" -> a device that is there.

    `index` numbers the workers of one service: where no card is named, each takes the next one.
    """
    if wanted == "auto":
        wanted = _best_device()
    try:
        device = torch.device(wanted)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise LoadError(f"unknown device {wanted!r}: use --device auto, cpu, cuda, cuda:N or mps")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise LoadError(f"no device {wanted!r}: PyTorch sees {count} CUDA devices here; use --device auto or cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise LoadError("no device 'mps': PyTorch sees no Apple GPU here; use --device auto or cpu")
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", index % torch.cuda.device_count())
    return device


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def choose_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """The dtype asked for, if the device has it; for "auto" the fastest that is safe."""
    if wanted == "auto":
        return _best_dtype(device)
    if wanted not in DTYPES:
        raise LoadError(f"unknown dtype {wanted!r}: use --dtype auto, {', '.join(DTYPES)}")
    if wanted == "float16" and device.type == "cpu":
        raise LoadError("a CPU has no fast float16: use --dtype auto, float32 or bfloat16")
    if wanted == "bfloat16" and device.type == "cuda" and not _cuda_has_bfloat16(device):
        raise LoadError("this card has no bfloat16: use --dtype auto, float16 or float32")
    return DTYPES[wanted]


def _best_dtype(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        return torch.bfloat16 if _cuda_has_bfloat16(device) else torch.float16
    if device.type == "mps":
        return torch.float16
    return torch.bfloat16 if _cpu_has_bfloat16() else torch.float32


def _cuda_has_bfloat16(device: torch.device) -> bool:
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies in bfloat16 itself. Without, it is emulated and slower than float32.

    AVX512_BF16 alone, without AMX, is enough: on two Zen 4 cores a row of a 7.7 M parameter UNet at 32x32 latents
    takes 26 ms of 2 rows and 18 ms of 32, against 37 and 34 ms in float32.
    """
    # A PyTorch too old to tell gives float32, which is never wrong.
    features: Mapping[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(features.get("amx_bf16") or features.get("avx512_bf16"))
