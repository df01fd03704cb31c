"""The parts of the work by themselves, and how many pictures a second they allow at best."""

import os
import time
from collections.abc import Callable
from typing import Any

import msgspec
import torch

from benchmarks.engine.workbench import Workbench
from scheduler.request import GenerateParams


class PartTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of bare calls: the UNet's with `rows` rows, the decoders' for one picture at their better batch size.

    Each of these takes the whole machine; encoding a picture takes one of `cores`.
    """

    rows: int
    unet: float
    preview_decode: float
    vae_decode: float
    preview_encode: float
    image_encode: float
    cores: int


def time_parts(bench: Workbench, params: GenerateParams, repeats: int) -> PartTimes:
    """Times what the bench has just been doing: its latest UNet call, decodes of its size, its newest pictures."""
    assert bench.preview is not None, "nothing to encode yet"
    assert bench.final is not None, "nothing to encode yet"
    model, batch = bench.model, bench.capacity(params)
    shape = model.latent_shape(params)
    return PartTimes(
        rows=bench.unet.num_rows,
        unet=mean_seconds(bench.unet.call_again, repeats),
        preview_decode=_decode_seconds(model.tiny_vae, shape, batch, repeats),
        vae_decode=_decode_seconds(model.pipe.vae, shape, batch, repeats),
        preview_encode=mean_seconds(bench.preview.encode, repeats),
        image_encode=mean_seconds(bench.final.encode, repeats),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    )


def bound(parts: PartTimes, params: GenerateParams) -> float:
    """Pictures a second if nothing but the bare parts took time and no core ever waited."""
    num_previews = sum(params.preview_due(index) for index in range(params.num_steps))
    denoising = params.num_steps * params.num_rows * parts.unet / parts.rows
    decoding = num_previews * parts.preview_decode + parts.vae_decode
    encoding = (num_previews * parts.preview_encode + parts.image_encode) / parts.cores
    return 1 / (denoising + decoding + encoding)


def mean_seconds(work: Callable[[], object], repeats: int) -> float:
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - began) / repeats


def _decode_seconds(vae: Any, shape: tuple[int, ...], batch: int, repeats: int) -> float:
    """For one picture: decoded alone, or with a whole batch of others if that is faster."""
    return min(_decode_batch_seconds(vae, shape, size, repeats) for size in {1, batch})


@torch.inference_mode()
def _decode_batch_seconds(vae: Any, shape: tuple[int, ...], batch: int, repeats: int) -> float:
    latents = torch.randn(batch, *shape[1:]).to(vae.device, vae.dtype)
    return mean_seconds(lambda: vae.decode(latents, return_dict=False), repeats) / batch
