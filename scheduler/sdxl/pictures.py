"""Previews and pictures: decoded beside the steps, and given out when they are ready."""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from scheduler.engine import Pixels, RequestOutput
from scheduler.request import Request
from scheduler.sdxl.aside import Aside, Made
from scheduler.sdxl.decode import Decoded, decode, lay_out, tiled
from scheduler.sdxl.failures import failure, invalid_numbers
from scheduler.sdxl.memory import Memory, is_any_error, is_out_of_memory
from scheduler.sdxl.preview import PreviewDecoder
from scheduler.sdxl.weights import Model

# What the full VAE decodes at once: it takes gigabytes for a picture of 1024x1024, which is 128x128 here. On a CPU less
# is faster: tensors that are beyond what the allocator keeps come as new pages every time.
CHUNK_LATENT_PIXELS = {"cpu": 64 * 64, "mps": 128 * 128, "cuda": 128 * 128}
MOST_UNDERWAY = 4  # previews of a request; two are usual, because the program is ahead of the device
MOST_CHUNKS_WAITING = 32  # for the full VAE: they are small, but where they grow without end, steps have to wait

Stage = Literal["preview_decode", "vae_decode"]
Failures = list[tuple["Slice", Exception]]


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
    def shown(self) -> Tensor:
        """What is decoded if anything is: the latents at the end, before it the clean ones that are predicted."""
        return self.latents if self.is_done else self.x0

    def copied(self) -> "Slice":
        """By itself: a view of the batch's tensors would keep all of them in memory."""
        own = self.shown.clone()
        return replace(self, latents=own, x0=own)

    def output(self, preview: Pixels | None = None, image: Pixels | None = None) -> RequestOutput:
        return RequestOutput(
            self.request, self.steps_done, preview=preview, image=image, prompt_truncated=self.prompt_truncated
        )


@dataclass(frozen=True, slots=True)
class Decoding:
    """One decode for some slices."""

    stage: Stage
    slices: Sequence[Slice]
    made: Made


class Pictures:
    """Makes what is due after a step, aside of the steps.

    All previews of one size share a decode, and so do finished pictures, in chunks. Decodes are given out in the order
    in which they began; few chunks are begun at a time.
    """

    def __init__(self, model: Model, aside: Aside, memory: Memory, clock: Callable[[], float] = time.monotonic) -> None:
        lay_out(model.pipe.vae)
        self.model = model
        self._decoder = model.preview_decoder or PreviewDecoder(model.tiny_vae)
        self.aside = aside
        self.memory = memory
        self._clock = clock
        self._underway: deque[Decoding] = deque()
        self._waiting: deque[Sequence[Slice]] = deque()  # chunks of finished pictures
        self._failed: list[RequestOutput] = []  # still to be given out
        self._seconds: dict[str, float] = {}

    def start(self, slices: Sequence[Slice]) -> list[RequestOutput]:
        """Begins the decodes that follow a step, and returns what can be told of them with the step itself."""
        was_idle = not (self._underway or self._waiting or self._failed)
        self._start_previews([each for each in slices if self._takes_preview(each)])
        self._waiting.extend(chunked([self._copied(each) for each in slices if each.is_done]))
        self._begin_images()
        return self.collect(wait=False) if was_idle else []

    def collect(self, *, wait: bool) -> list[RequestOutput]:
        """What is ready of requests that still live; with `wait`, at least something, or nothing is being made."""
        self._begin_images()
        outputs = _of_the_living(self._failed)
        self._failed = []
        while self._underway and (self._underway[0].made.is_ready() or (wait and not outputs)):
            outputs += _of_the_living(self._finish(self._underway.popleft()))
        return outputs

    def take_seconds(self) -> dict[str, float]:
        """By stage, what the decodes took that were given out since this was asked last."""
        taken, self._seconds = self._seconds, {}
        return taken

    def _copied(self, each: Slice) -> Slice:
        """Itself where there is no memory for a copy: the batch's tensors are then kept until it is decoded."""
        copies = self.memory.fit([each], lambda part: part[0].copied()).results
        return copies[0] if copies else each

    def _takes_preview(self, each: Slice) -> bool:
        """Whether a preview is due by step and by interval, and decodes keep up. Notes the time if so."""
        request, params, now = each.request, each.request.params, self._clock()
        if not params.preview_due(each.steps_done - 1):
            return False
        is_early = request.previewed_at is not None and now - request.previewed_at < params.preview_interval
        if not params.keeps_previews and (is_early or self._num_underway(request) >= MOST_UNDERWAY):
            return False
        request.previewed_at = now
        return True

    def _num_underway(self, request: Request) -> int:
        return sum(each.request is request for decoding in self._underway for each in decoding.slices)

    def _start_previews(self, due: Sequence[Slice]) -> None:
        """A preview that does not fit even alone is left out: the picture itself may still come."""
        groups: dict[int, list[Slice]] = defaultdict(list)
        for each in due:
            groups[self._decoder.num_halvings(each.request.params)].append(each)
        failures: Failures = []
        for num_halvings, group in groups.items():
            failures += self._start("preview_decode", group, partial(self._decoder.decode, num_halvings=num_halvings))
        self._failed += [_failed(each, error) for each, error in failures if not is_out_of_memory(error)]

    def _begin_images(self) -> None:
        """The chunks that are next, as far as there is room."""
        while self._waiting:
            underway = [each.made for each in self._underway if each.stage == "vae_decode"]
            busy = [made for made in underway if not made.is_ready()]
            if len(busy) >= self.aside.most_chunks:
                if len(self._waiting) <= MOST_CHUNKS_WAITING:
                    return
                busy[0].take()
            self._start_images([each for each in self._waiting.popleft() if each.request.is_live])

    def _start_images(self, chunk: Sequence[Slice]) -> None:
        failures = self._start("vae_decode", chunk, partial(decode, self.model.pipe.vae))
        self._failed += [_failed(each, error) for each, error in self._start_in_tiles(failures)]

    def _start_in_tiles(self, failures: Failures) -> Failures:
        """Tries those again that did not fit even alone, and returns those that fail for good."""
        still: Failures = []
        for each, error in failures:
            decoder = partial(decode, tiled(self.model.pipe.vae, each.latents))
            still += self._start("vae_decode", [each], decoder) if is_out_of_memory(error) else [(each, error)]
        return still

    def _start(self, stage: Stage, slices: Sequence[Slice], decoder: Callable[[Tensor], Decoded]) -> Failures:
        """One decode for all slices, or several that fit."""

        def begin(part: Sequence[Slice]) -> None:
            latents = torch.cat([each.shown for each in part])
            self._underway.append(Decoding(stage, part, self.aside.run(partial(decoder, latents), reads=latents)))

        return self.memory.fit(slices, begin, is_any_error).failures

    def _finish(self, decoding: Decoding) -> list[RequestOutput]:
        try:
            pixels, is_valid = decoding.made.take()
        except Exception as error:  # noqa: BLE001 - a fault of the device ends these requests; it shows again in a step
            return [_failed(each, error) for each in decoding.slices]
        self._seconds[decoding.stage] = self._seconds.get(decoding.stage, 0.0) + decoding.made.seconds
        shares = zip(decoding.slices, pixels.numpy(), is_valid.tolist(), strict=True)
        return [output for each, picture, ok in shares if (output := self._output(each, picture, ok=ok))]

    def _output(self, each: Slice, picture: Pixels, *, ok: bool) -> RequestOutput | None:
        if not each.is_done:
            return each.output(preview=picture) if ok else None
        if not ok:
            return invalid_numbers(each.request, each.steps_done, self.model.dtype_name)
        return each.output(image=picture)


def chunked(done: Sequence[Slice]) -> Iterator[Sequence[Slice]]:
    """Parts for the full VAE."""
    if done:
        latents = done[0].latents
        length = max(1, CHUNK_LATENT_PIXELS[latents.device.type] // latents[0, 0].numel())
        yield from (done[start : start + length] for start in range(0, len(done), length))


def _of_the_living(outputs: Sequence[RequestOutput]) -> list[RequestOutput]:
    return [each for each in outputs if each.request.is_live]


def _failed(each: Slice, error: Exception) -> RequestOutput:
    return failure(each.request, each.steps_done, error)
