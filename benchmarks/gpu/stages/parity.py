"""Whether pictures are the same: step batching against the stock pipeline, what is fast against what is plain."""

from collections.abc import Sequence
from functools import partial
from statistics import median

import msgspec
import torch
from torch import Tensor

from benchmarks.gpu.lab import Lab, make_params, running
from benchmarks.gpu.likeness import (
    Latents,
    differences,
    exact_float32,
    picture_differences,
    run_joining,
    run_to_pictures,
)
from benchmarks.gpu.scale import Scale
from benchmarks.gpu.store import Label, Point
from benchmarks.gpu.tasks import Known, Level, Task
from benchmarks.tables import table as table_of
from scheduler.request import GenerateParams, Request
from scheduler.sdxl.aside import Inline, choose_aside
from scheduler.sdxl.sampler import draw_noise
from scheduler.sdxl.weights import Model

EXACT, LOW = "float32", "bfloat16"
PLAIN_WAY, FAST_WAY = "step", "step with speed-ups"
MOST_COMPARED = 3
"""Of a batch's requests: as many also run alone, and through the pipeline."""
PAIRS = (
    ("step, alone", EXACT, "pipeline", EXACT),
    ("step, full batch", EXACT, "pipeline", EXACT),
    ("step, full batch", EXACT, "step, alone", EXACT),
    ("pipeline", LOW, "pipeline", EXACT),
    ("step, alone", LOW, "pipeline", EXACT),
    ("step, full batch", LOW, "pipeline", EXACT),
    ("step, full batch", LOW, "step, alone", LOW),
)
"""What is compared with what: a way, its dtype, the reference, its dtype."""


def tasks(scale: Scale) -> list[Task]:
    """First what makes pictures fast, which is of no use if they are wrong. Then the smaller ones: float32 is slow."""
    side, rows = scale.first[0]
    fast = Task(f"speed-ups {side}, {rows} rows", 0, 90, partial(measure_fast, side=side, rows=rows))
    smaller, *larger = sorted(scale.first)
    return [fast, _task(*smaller, 1, 90), *(_task(*shape, 2, 130) for shape in larger)]


def _task(side: int, rows: int, level: Level, seconds: float) -> Task:
    return Task(f"{side}, {rows} rows", level, seconds, partial(measure, side=side, rows=rows))


def measure_fast(lab: Lab, side: int, rows: int) -> list[Point]:
    """Finished pictures with the lab's speed-ups and with a stream beside the steps, against neither."""
    requests = _requests(make_params(side, lab.scale.num_steps, preview_every=1), rows // 2)
    models = {PLAIN_WAY: lab.model(), FAST_WAY: lab.fast(lab.speedups, [side], [rows])}
    pictures = {
        f"{way}, {where}": run_to_pictures(lab.engine(model, rows, aside), requests)
        for way, model in models.items()
        for where, aside in (("inline", Inline()), ("beside the steps", choose_aside(lab.device)))
    }
    reference, *others = pictures
    what: dict[str, Label] = {"side": side, "rows": rows, "reference": reference, "reference dtype": lab.dtype}
    return [
        Point(
            what=what | {"way": way, "dtype": lab.dtype},
            figures=picture_differences(pictures[way], pictures[reference]),
        )
        for way in others
    ]


def measure(lab: Lab, side: int, rows: int) -> list[Point]:
    latents: dict[tuple[str, str], list[Tensor]] = {}
    requests = _requests(make_params(side, lab.scale.num_steps), rows // 2)
    with exact_float32():
        for dtype in (EXACT, LOW):
            lab.say(f"{dtype}")
            model = lab.model(dtype)
            few = requests[:MOST_COMPARED]
            latents["pipeline", dtype] = [call_pipeline(model, each.params) for each in few]
            latents["step, alone", dtype] = [each for one in few for each in _run(lab, model, rows, [one])]
            latents["step, full batch", dtype] = _run(lab, model, rows, requests)[: len(few)]
        vae = lab.model(EXACT).pipe.vae
        return [_point(side, rows, pair, latents, vae) for pair in PAIRS]


def table(known: Known) -> str:
    """The worst of the requests compared, and the median of the decibels."""
    rows = [
        (
            f"{point.what['side']}x{point.what['side']}, {point.what['rows']} rows",
            f"{point.what['way']}, {point.what['dtype']}",
            f"{point.what['reference']}, {point.what['reference dtype']}",
            f"{max(point.figures['largest']):.1e}",
            f"{max(point.figures['error']):.1e}",
            f"{median(point.figures['decibel']):.0f} dB",
            f"{max(point.figures['levels']):.0f}",
        )
        for point in known("parity")
    ]
    header = ("size", "way", "reference", "largest, of the range", "relative error", "pictures", "levels of 255")
    return table_of(header, rows) if rows else ""


@torch.inference_mode()
def call_pipeline(model: Model, params: GenerateParams) -> Tensor:
    """[1, 4, h/8, w/8] from diffusers' own call, from the same noise."""
    noise = draw_noise(model.latent_shape(params), torch.Generator().manual_seed(params.seed), model.device)
    latents: Tensor = model.pipe(
        prompt=params.prompt,
        negative_prompt=params.negative_prompt,
        width=params.width,
        height=params.height,
        num_inference_steps=params.num_steps,
        guidance_scale=params.guidance_scale,
        latents=noise.to(model.dtype),
        output_type="latent",
    ).images
    return latents.float()


def _requests(params: GenerateParams, count: int) -> list[Request]:
    """Each with a seed and a guidance scale of its own."""
    scaled = [msgspec.structs.replace(params, guidance_scale=2.0 + index) for index in range(count)]
    return [running(each, count)[index] for index, each in enumerate(scaled)]


def _run(lab: Lab, model: Model, rows: int, requests: Sequence[Request]) -> list[Tensor]:
    latents = Latents()
    return run_joining(lab.engine(model, rows, latents), latents, requests)


def _point(
    side: int, rows: int, pair: tuple[str, str, str, str], latents: dict[tuple[str, str], list[Tensor]], vae: object
) -> Point:
    way, dtype, reference, reference_dtype = pair
    return Point(
        what={
            "side": side,
            "rows": rows,
            "way": way,
            "dtype": dtype,
            "reference": reference,
            "reference dtype": reference_dtype,
        },
        figures=differences(latents[way, dtype], latents[reference, reference_dtype], vae),
    )
