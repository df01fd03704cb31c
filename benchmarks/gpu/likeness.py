"""How much two results differ that should be the same."""

import math
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.store import Figures
from scheduler.engine import RequestOutput
from scheduler.request import Request
from scheduler.sdxl.aside import Done, Inline, Work
from scheduler.sdxl.decode import decode
from scheduler.sdxl.step_engine import StepEngine

LEVELS = 255


class Latents(Inline):
    """Notes the latents of every picture on their way to the decoder, [1, 4, h/8, w/8] each."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def run(self, work: Work, reads: Tensor) -> Done:
        self.seen += torch.split(reads.clone(), 1)
        return super().run(work, reads)


def run_joining(engine: StepEngine, latents: Latents, requests: Sequence[Request]) -> list[Tensor]:
    """Final latents of requests with equally many steps, one of which joins the batch before each step."""
    steps_left = {request: request.params.num_steps for request in requests}
    waiting, batch = list(requests), list[Request]()
    latents.seen.clear()
    while waiting or batch:
        if waiting:
            batch.append(waiting.pop(0))
        engine.run(batch, lambda _: None)
        for request in batch:
            steps_left[request] -= 1
        for request in [each for each in batch if not steps_left[each]]:
            batch.remove(request)
            engine.release(request)
    engine.collect(wait=True)
    return list(latents.seen)


def run_to_pictures(engine: StepEngine, requests: Sequence[Request]) -> list[Tensor]:
    """Finished pictures in the order of the requests, [h, w, 3] each. All of them run from the first step on."""
    pictures: dict[str, Tensor] = {}

    def take(outputs: Iterable[RequestOutput]) -> None:
        for each in outputs:
            if each.error is not None:
                raise RuntimeError(each.error)
            if each.image is not None:
                pictures[each.request.id] = torch.from_numpy(each.image.copy())

    for _ in range(requests[0].params.num_steps):
        engine.run(requests, lambda step: take(step.outputs))
    while made := engine.collect(wait=True):
        take(made)
    for request in requests:
        engine.release(request)
    return [pictures[request.id] for request in requests]


def picture_differences(actual: Sequence[Tensor], reference: Sequence[Tensor]) -> Figures:
    """As `differences`, of finished pictures."""
    pairs = [(one.double(), other.double()) for one, other in zip(actual, reference, strict=True)]
    levels = [float((a - b).abs().max()) for a, b in pairs]
    return {
        "largest": [each / LEVELS for each in levels],
        "error": [relative_error(a, b) for a, b in pairs],
        "decibel": [decibel(a, b) for a, b in pairs],
        "levels": levels,
    }


def relative_error(actual: Tensor, reference: Tensor) -> float:
    """The norm of the difference by the norm of the reference."""
    actual, reference = actual.double(), reference.double()
    return float((actual - reference).norm() / reference.norm())


def differences(actual: Sequence[Tensor], reference: Sequence[Tensor], vae: Any) -> Figures:
    """One value for each pair of latents: the largest difference by the range of the reference, the relative error, and
    of their pictures the signal-to-noise ratio in dB and the largest difference in levels of 255.
    """
    pairs = list(zip(actual, reference, strict=True))
    pictures = [(_picture(vae, one), _picture(vae, other)) for one, other in pairs]
    return {
        "largest": [float((a - b).abs().max() / (b.max() - b.min())) for a, b in pairs],
        "error": [relative_error(a, b) for a, b in pairs],
        "decibel": [decibel(a, b) for a, b in pictures],
        "levels": [float((a - b).abs().max()) for a, b in pictures],
    }


def decibel(actual: Tensor, reference: Tensor) -> float:
    """Peak signal-to-noise ratio of levels; 100 for pictures that are the same."""
    mean_square = float((actual - reference).square().mean())
    return min(100.0, 10 * math.log10(LEVELS**2 / mean_square)) if mean_square else 100.0


def exact_float32() -> AbstractContextManager[None]:
    """Inside, convolutions in float32 are computed in float32, and not in TF32."""
    flags: Any = torch.backends.cudnn.flags
    context: AbstractContextManager[None] = flags(enabled=True, allow_tf32=False)
    return context


@torch.inference_mode()
def _picture(vae: Any, latents: Tensor) -> Tensor:
    return decode(vae, latents.float()).pixels.double()
