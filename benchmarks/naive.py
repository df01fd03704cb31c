"""The way of most tutorials, fairly written: a thread and a pipeline call per request, on one set of weights.

It speaks the wire format of `POST /stream` and sends previews after the same steps, so that the same clients drive it.
It has what such servers lack at times: a noise sampler of its own for every call, a lock around the tokenizers (which
threads cannot share either), previews by a tiny VAE, an event loop that never blocks. It has no queue, batch or cancel.
"""

import argparse
import asyncio
import base64
import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from scheduler.placement.variables import WORKER_VARIABLES

os.environ.update({**WORKER_VARIABLES, **os.environ})  # before torch is imported

import diffusers
import torch
from aiohttp import web

from scheduler.engine import LoadError, Pixels, describe
from scheduler.images import EncodedImage, encode_image, encode_preview
from scheduler.messages import WorkerConfig
from scheduler.postcard import bundled_model
from scheduler.request import GenerateParams
from scheduler.sdxl.decode import decode
from scheduler.sdxl.weights import Model, load_model

# Without types of its own.
Pipeline: Any = diffusers.StableDiffusionXLPipeline

HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache, no-transform"}

Event = dict[str, Any]
Emit = Callable[[Event | None], None]
"""Takes the events of a request in order, None at their end. Called from the request's thread."""


@dataclass(frozen=True, slots=True)
class Painter:
    """One set of weights, shared by all threads. `default_size` in pixels."""

    model: Model
    default_size: int
    tokenizing: threading.Lock = field(default_factory=threading.Lock)

    def paint(self, params: GenerateParams, emit: Emit) -> None:
        """Paints one picture, in the thread that calls it."""
        try:
            image = self._call_pipeline(params, emit)
            emit(_event(encode_image(image, params), params.num_steps, params))
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the client must hear of it
            emit({"error": {"code": "engine_error", "message": describe(error)}, "detail": describe(error)})
        emit(None)

    @torch.inference_mode()
    def _call_pipeline(self, params: GenerateParams, emit: Emit) -> Pixels:
        def send_preview(
            _: object, index: int, __: object, tensors: dict[str, torch.Tensor]
        ) -> dict[str, torch.Tensor]:
            if params.preview_due(index):
                preview = _pixels(self.model.tiny_vae, tensors["latents"])
                emit(_event(encode_preview(preview, params), index + 1, params))
            return tensors

        pipeline = self._make_pipeline()
        output = pipeline(
            **self._encode(pipeline, params),
            width=params.width,
            height=params.height,
            num_inference_steps=params.num_steps,
            guidance_scale=params.guidance_scale,
            generator=torch.Generator("cpu").manual_seed(params.seed),
            callback_on_step_end=send_preview,
            output_type="latent",
        )
        return _pixels(self._shared.vae, output.images)

    @property
    def _shared(self) -> Any:
        return self.model.pipe

    def _make_pipeline(self) -> Any:
        """The shared weights with a noise sampler of their own: one sampler cannot serve two calls at once."""
        sampler = type(self._shared.scheduler).from_config(self._shared.scheduler.config)
        pipeline = Pipeline(**{**self._shared.components, "scheduler": sampler}, add_watermarker=False)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _encode(self, pipeline: Any, params: GenerateParams) -> dict[str, torch.Tensor | None]:
        """The prompt's embeddings, as the pipeline's call takes them."""
        with self.tokenizing:
            embeddings = pipeline.encode_prompt(
                params.prompt,
                negative_prompt=params.negative_prompt,
                do_classifier_free_guidance=params.guidance_scale > 1,
            )
        names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
        return dict(zip(names, embeddings, strict=True))


def load_painter(config: WorkerConfig) -> Painter:
    model = load_model(config, progress=lambda _: None)
    return Painter(model, model.info(config).default_width)


def make_app(painter: Painter) -> web.Application:
    async def stream(request: web.Request) -> web.StreamResponse:
        params = _parse(await request.json(), painter.default_size)
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Event | None] = asyncio.Queue()

        def emit(event: Event | None) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        threading.Thread(target=painter.paint, args=(params, emit), daemon=True).start()
        while (event := await events.get()) is not None:
            await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        return response

    async def ready(_: web.Request) -> web.Response:
        return web.Response(text="ready")

    app = web.Application()
    app.add_routes([web.post("/stream", stream), web.get("/readyz", ready)])
    return app


def _pixels(vae: Any, latents: torch.Tensor) -> Pixels:
    """[1, 4, h/8, w/8] latents -> [h, w, 3] uint8."""
    pixels: Pixels = decode(vae, latents).pixels[0].cpu().numpy()
    return pixels


def _parse(body: dict[str, Any], default_size: int) -> GenerateParams:
    return GenerateParams(
        prompt=body["prompt"],
        width=body.get("width", default_size),
        height=body.get("height", default_size),
        num_steps=body.get("num_inference_steps", 20),
        guidance_scale=body.get("guidance_scale", 5.0),
        seed=body.get("seed", 0),
        preview_every=body.get("preview_every", 5),
    )


def _event(image: EncodedImage, step: int, params: GenerateParams) -> Event:
    payload = {
        "url": f"data:{image.content_type};base64,{base64.b64encode(image.data).decode()}",
        "content_type": image.content_type,
        "width": image.width,
        "height": image.height,
    }
    return {"image": payload, "step": step, "total_steps": params.num_steps, "seed": params.seed}


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.naive", description=__doc__, formatter_class=formatter)
    parser.add_argument("--port", type=int, default=8000, help="on 127.0.0.1 (%(default)s)")
    parser.add_argument("--model", default=str(bundled_model()), help="diffusers folder or hub id (the bundled one)")
    parser.add_argument("--preview-model", help="its tiny VAE (found beside the model)")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float16"), default="auto", help="(auto)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads of a call (all cores)")
    options = parser.parse_args()
    config = WorkerConfig(
        model=options.model, preview_model=options.preview_model, dtype=options.dtype, threads=options.threads
    )
    try:
        painter = load_painter(config)
    except LoadError as error:
        sys.exit(str(error))
    web.run_app(make_app(painter), host="127.0.0.1", port=options.port, print=None)


if __name__ == "__main__":
    main()
