"""How much of a device's memory is in use, and what the work on it takes at its most."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch

from scheduler.messages import DeviceMemory, StepPeak
from scheduler.padding import padded
from scheduler.sdxl.decode import decode
from scheduler.sdxl.memory import is_out_of_memory
from scheduler.sdxl.pictures import CHUNK_LATENT_PIXELS
from scheduler.sdxl.weights import Model

cuda: Any = torch.cuda  # partly untyped

COMMON_POOL = (0, 0)  # of the allocator's memory; CUDA graphs have pools of their own


class Gauge(Protocol):
    """A device's memory as this process sees it, in bytes."""

    def available(self) -> int:
        """What the process may have: what it has, but for what only recorded graphs may use, and what nobody has."""
        ...

    def in_use(self) -> int:
        """By its tensors."""
        ...

    def reset_peak(self) -> None: ...

    def peak(self) -> int:
        """The most that was in use since the last reset, once all work is done."""
        ...


class CudaGauge:
    """https://docs.pytorch.org/docs/stable/notes/cuda.html#memory-management"""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def available(self) -> int:
        free, _ = cuda.mem_get_info(self._device)
        return int(free + cuda.memory_reserved(self._device) - self._kept_for_graphs())

    def in_use(self) -> int:
        return int(cuda.memory_allocated(self._device))

    def reset_peak(self) -> None:
        cuda.reset_peak_memory_stats(self._device)

    def peak(self) -> int:
        cuda.synchronize(self._device)
        return int(cuda.max_memory_allocated(self._device))

    def _kept_for_graphs(self) -> int:
        """Free for the recorded graphs that work in it, and for nobody else."""
        segments = [each for each in cuda.memory_snapshot() if each["device"] == self._device.index]
        own = [each for each in segments if tuple(each["segment_pool_id"]) != COMMON_POOL]
        return sum(each["total_size"] - each["allocated_size"] for each in own)


class NoGauge:
    """Where nothing can be measured: a CPU's memory is not the model's alone, and Apple's tells no peak."""

    def available(self) -> int:
        return 0

    def in_use(self) -> int:
        return 0

    def reset_peak(self) -> None:
        """There is none."""

    def peak(self) -> int:
        return 0


def choose_gauge(device: torch.device) -> Gauge:
    return CudaGauge(device) if device.type == "cuda" else NoGauge()


def taken(gauge: Gauge, work: Callable[[], object]) -> int:
    """Bytes that `work` takes at its most, besides what is in use before."""
    before = gauge.in_use()
    gauge.reset_peak()
    work()
    return max(0, gauge.peak() - before)


def measure_memory(model: Model, gauge: Gauge, step_peaks: Sequence[StepPeak]) -> DeviceMemory | None:
    """What there is of memory, and what the model takes of it; None where that cannot be told."""
    step_peaks = (*_not_ready(model, step_peaks), *model.ready_peaks)
    if not gauge.available() or not step_peaks:
        return None
    size = model.default_size
    num_pictures = max(1, CHUNK_LATENT_PIXELS[model.device.type] // (size // model.pipe.vae_scale_factor) ** 2)
    try:
        peak = decode_peak(model, gauge, num_pictures, size, size)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        peak = 0  # such pictures are decoded in tiles
    return DeviceMemory(
        available=gauge.available(),
        resting=gauge.in_use(),
        step_peaks=step_peaks,
        decode_peak=peak,
        decode_pixels=num_pictures * size**2,
    )


def _not_ready(model: Model, peaks: Sequence[StepPeak]) -> Iterator[StepPeak]:
    """Without those of steps that are padded to one that was made ready: a recorded one takes nothing any more."""
    counts = {width * height: set(counts) for (width, height), counts in model.row_counts.items()}
    for peak in peaks:
        ready = counts.get(peak.pixels, set())
        if padded(peak.rows, sorted(ready)) not in ready:
            yield peak


@torch.inference_mode()
def decode_peak(model: Model, gauge: Gauge, num_pictures: int, width: int, height: int) -> int:
    """Bytes that the full VAE takes for so many pictures at once. Raises what it raises, out of memory for one."""
    factor = model.pipe.vae_scale_factor
    shape = (num_pictures, model.pipe.unet.config.in_channels, height // factor, width // factor)
    latents = torch.zeros(shape, device=model.device)
    return taken(gauge, lambda: decode(model.pipe.vae, latents))
