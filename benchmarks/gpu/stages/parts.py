"""What is compiled or recorded besides the UNet: text encoders, the full VAE, and the tiny one of the previews."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.gpu.lab import Lab, make_params
from benchmarks.gpu.likeness import relative_error
from benchmarks.gpu.scale import Scale
from benchmarks.gpu.store import Point
from benchmarks.gpu.tables import milliseconds
from benchmarks.gpu.tasks import Known, Task
from benchmarks.gpu.timing import interleaved
from benchmarks.tables import table as table_of
from scheduler.engine import describe
from scheduler.messages import Speedups
from scheduler.sdxl.decode import decode
from scheduler.sdxl.preview import PreviewDecoder
from scheduler.sdxl.prompts import PromptEncoder
from scheduler.sdxl.warming import TEXT_ROWS, preview_shapes, text_shapes, vae_shapes
from scheduler.sdxl.weights import Model

PLAIN = "plain"
KINDS = {
    PLAIN: Speedups(),
    "CUDA graphs": Speedups(cuda_graphs=True),
    "compiled": Speedups(compile="default"),
    "compiled, CUDA graphs": Speedups(compile="default", cuda_graphs=True),
}
LAID_OUT = Speedups(channels_last=True)
PREVIEWS = (4, 16)
"""In one decode."""

Output = Callable[[], Tensor]
Part = Callable[[Lab, Speedups], dict[str, Output]]
"""By what they do, calls that give numbers, of a model that is made ready for them."""


def tasks(scale: Scale) -> list[Task]:
    """Those that compile soonest come first."""
    side = scale.first[0][0]
    parts: dict[str, tuple[Part, float]] = {
        f"previews {side}": (partial(previews, side=side), 60),
        f"pictures {side}": (partial(pictures, side=side), 90),
        "texts": (texts, 120),
    }
    return [Task(name, 1, seconds, partial(measure, name=name, part=part)) for name, (part, seconds) in parts.items()]


@torch.inference_mode()
def measure(lab: Lab, name: str, part: Part) -> list[Point]:
    """Every kind by turns. One that this machine cannot do gives its reason."""
    works: dict[str, dict[str, Output]] = {}
    points = []
    for kind in kinds(lab.scale):
        try:
            works[kind] = part(lab, KINDS[kind])
        except Exception as error:  # noqa: BLE001 - a compiler raises anything; the other kinds are still of use
            points.append(Point(what={"part": name, "kind": kind, "error": describe(error)}, figures={}))
    for work in works[PLAIN]:
        points += _timed(lab, work, {kind: each[work] for kind, each in works.items()})
    return points


def kinds(scale: Scale) -> list[str]:
    return [kind for kind, each in KINDS.items() if each.compile == "off" or "compile" in scale.rungs]


def previews(lab: Lab, speedups: Speedups, side: int) -> dict[str, Output]:
    """As large as requests get them which do not say."""
    model = _laid_out(lab)
    decoder = PreviewDecoder(model.tiny_vae)
    halvings = decoder.num_halvings(make_params(side, 1))
    if speedups != KINDS[PLAIN]:
        rows = [2 * number for number in PREVIEWS]
        lab.ready(speedups, lambda wrap: preview_shapes(model, decoder, wrap, [(side, side)], rows))
    return {
        f"{number} previews of {side >> halvings} pixels": partial(
            _pixels, partial(decoder.decode, num_halvings=halvings), _latents(lab, model, number, side)
        )
        for number in PREVIEWS
    }


def pictures(lab: Lab, speedups: Speedups, side: int) -> dict[str, Output]:
    model = _laid_out(lab)
    if speedups != KINDS[PLAIN]:
        lab.ready(speedups, lambda wrap: vae_shapes(model, wrap, [(side, side)]))
    return {
        f"a picture of {side} pixels": partial(_pixels, partial(decode, model.pipe.vae), _latents(lab, model, 1, side))
    }


def texts(lab: Lab, speedups: Speedups) -> dict[str, Output]:
    """Both encoders, and what the program does for them."""
    model = _laid_out(lab)
    if speedups != KINDS[PLAIN]:
        lab.ready(speedups, partial(text_shapes, model))
    encoder = PromptEncoder(model.pipe, cache_bytes=0)
    prompts = {number: [f"a red house by the sea, number {index}" for index in range(number)] for number in TEXT_ROWS}
    return {f"{number} texts": partial(_encode, encoder, prompts[number]) for number in TEXT_ROWS}


def table(known: Known) -> str:
    rows = [_row(point) for point in known("parts")]
    note = "error: of what it gives, relative to plain."
    return f"{table_of(('part', 'kind', 'ms', 'against plain', 'error'), rows)}\n\n{note}" if rows else ""


def _timed(lab: Lab, name: str, works: dict[str, Output]) -> list[Point]:
    plain = works[PLAIN]()
    errors = {kind: relative_error(work(), plain) for kind, work in works.items()}
    seconds = interleaved(works, lab.scale.rounds, lab.device, lab.scale.least_seconds)
    return [
        Point(
            what={"part": name, "kind": kind},
            figures={
                "seconds": each,
                "ratio": [p / s for p, s in zip(seconds[PLAIN], each, strict=True)],
                "error": [errors[kind]],
            },
        )
        for kind, each in seconds.items()
    ]


def _row(point: Point) -> tuple[str, ...]:
    start = (str(point.what["part"]), str(point.what["kind"]))
    if "error" in point.what:
        return (*start, str(point.what["error"]), "", "")
    figures = point.figures
    return (*start, milliseconds(figures["seconds"]), f"{point.median('ratio'):.2f}x", f"{figures['error'][0]:.1e}")


def _laid_out(lab: Lab) -> Model:
    return lab.fast(LAID_OUT, [lab.scale.first[0][0]], [1])


def _latents(lab: Lab, model: Model, number: int, side: int) -> Tensor:
    latent_side = side // model.pipe.vae_scale_factor
    shape = (number, model.pipe.unet.config.in_channels, latent_side, latent_side)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(lab.device)


def _pixels(decoder: Callable[[Tensor], tuple[Tensor, Tensor]], latents: Tensor) -> Tensor:
    return decoder(latents)[0]


def _encode(encoder: PromptEncoder, prompts: list[str]) -> Tensor:
    return encoder.encode(prompts)[prompts[-1]].tokens
