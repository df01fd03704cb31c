"""After a step: previews and pictures for the requests that are due one."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scheduler.engine import Pixels, RequestOutput, StepOutput
from scheduler.request import Request
from scheduler.sdxl.decode import decode_chunked
from scheduler.sdxl.preview import decode_previews
from scheduler.sdxl.timing import Stopwatch
from scheduler.sdxl.weights import Model


@dataclass(frozen=True, slots=True)
class Slice:
    """One request's share of the batch after a step. Tensors are [1, 4, h/8, w/8] fp32."""

    request: Request
    steps_done: int
    latents: Tensor
    x0: Tensor
    prompt_truncated: bool

    @property
    def is_done(self) -> bool:
        return self.steps_done == self.request.params.num_steps

    @property
    def preview_due(self) -> bool:
        return self.request.params.preview_due(self.steps_done - 1)


def report(model: Model, slices: Sequence[Slice], watch: Stopwatch, num_rows: int, padded_rows: int = 0) -> StepOutput:
    """What a step gave: one preview decode for all requests that are due, one full decode for all that are done."""
    outputs = _outputs(model, slices, watch)
    memory_used, memory_total = model.memory()
    return StepOutput(
        outputs=outputs,
        num_rows=num_rows,
        duration=watch.elapsed,
        stages=watch.stages,
        padded_rows=padded_rows,
        memory_used=memory_used,
        memory_total=memory_total,
    )


def _outputs(model: Model, slices: Sequence[Slice], watch: Stopwatch) -> list[RequestOutput]:
    previews = _previews(model, [each for each in slices if each.preview_due], watch)
    images = _images(model, [each for each in slices if each.is_done], watch)
    return [
        RequestOutput(
            request=each.request,
            steps_done=each.steps_done,
            preview=previews.get(each.request.id),
            image=images.get(each.request.id),
            error=_no_picture(model) if each.is_done and each.request.id not in images else None,
            prompt_truncated=each.prompt_truncated,
        )
        for each in slices
    ]


def _previews(model: Model, due: list[Slice], watch: Stopwatch) -> dict[str, Pixels]:
    if not due:
        return {}
    with watch.stage("preview_decode"):
        pixels = decode_previews(model.tiny_vae, [each.x0 for each in due])
    return {each.request.id: each_pixels for each, each_pixels in zip(due, pixels, strict=True)}


def _images(model: Model, done: list[Slice], watch: Stopwatch) -> dict[str, Pixels]:
    """The finished pictures. None for latents that are not numbers: they would come out as a black picture."""
    if not done:
        return {}
    with watch.stage("vae_decode"):
        latents = torch.cat([each.latents for each in done])
        is_finite = latents.isfinite().flatten(1).all(1).tolist()
        pixels = decode_chunked(model.pipe.vae, latents)
    ids = (each.request.id for each in done)
    return {id_: image for id_, image, ok in zip(ids, pixels, is_finite, strict=True) if ok}


def _no_picture(model: Model) -> str:
    return f"the model gave invalid numbers in {model.dtype_name}; the server may have to run with --dtype float32"
