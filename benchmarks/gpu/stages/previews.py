"""What previews and pictures cost: the decodes by themselves, and what is left of the throughput beside them."""

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.lab import Lab, make_params
from benchmarks.gpu.rolling import Rolling
from benchmarks.gpu.scale import Scale
from benchmarks.gpu.store import Label, Point
from benchmarks.gpu.tables import milliseconds
from benchmarks.gpu.tasks import Known, Task
from benchmarks.gpu.timing import Work, interleaved
from benchmarks.tables import table as table_of
from scheduler.sdxl.aside import Aside, Inline, between_steps, choose_aside
from scheduler.sdxl.decode import decode
from scheduler.sdxl.preview import MAX_HALVINGS, PreviewDecoder
from scheduler.sdxl.weights import Model

PICTURES = (1, 2, 4, 8, 16)
ENDLESS_STEPS = 500
"""Of requests that never come to their picture."""
USUAL = 512
"""Pixels of a preview's longest side, where a request does not say."""
MOST_ROUNDS = 3
"""Of the costs: there are many kinds, and each runs for as long as a request."""
NOTHING = "nothing decoded"
PICTURES_ONLY = "pictures"
BETWEEN = "between steps"
ASIDES: dict[str, Callable[[torch.device], Aside]] = {
    "inline": lambda _: Inline(),
    "side stream": choose_aside,
    BETWEEN: between_steps,
}
"""Where decodes are made; on a CPU there is only one place."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What is decoded in a run: pictures, or previews too, so large and after every so many steps."""

    what: str
    aside: str
    preview_every: int = 0
    preview_size: int = USUAL

    @property
    def name(self) -> str:
        return f"{self.what}, {self.aside}" if self.aside else self.what


def tasks(scale: Scale) -> list[Task]:
    costs = [_cost_task(side, rows) for side, rows in scale.first]
    previews = [
        Task(f"preview decodes {side}", 1, 20, partial(measure_previews, side=side)) for side in scale.sizes[:2]
    ]
    pictures = [Task(f"full decodes {side}", 1, 30, partial(measure_pictures, side=side)) for side in scale.sizes[:2]]
    return [costs[0], *previews, *pictures, *costs[1:]]


def _cost_task(side: int, rows: int) -> Task:
    return Task(f"cost {side}, {rows} rows", 1, 180, partial(measure_cost, side=side, rows=rows))


@torch.inference_mode()
def measure_previews(lab: Lab, side: int) -> list[Point]:
    """By pictures in one decode, and by how often the sides are halved."""
    decoder = PreviewDecoder(lab.model().tiny_vae)
    works: dict[str, Work] = {}
    labels: dict[str, dict[str, Label]] = {}
    for number in PICTURES:
        latents = _latents(lab, side, number)
        for halvings in range(MAX_HALVINGS + 1):
            name = f"{number} {halvings}"
            works[name] = partial(decoder.decode, latents, num_halvings=halvings)
            labels[name] = {"work": "preview decode", "side": side, "pictures": number, "pixels": side >> halvings}
    seconds = interleaved(works, lab.scale.rounds, lab.device, lab.scale.least_seconds / 4)
    return [Point(what=labels[name], figures={"seconds": seconds[name]}) for name in works]


def measure_pictures(lab: Lab, side: int) -> list[Point]:
    vae = copy.deepcopy(lab.model().pipe.vae)
    vaes = {lab.dtype: vae, f"{lab.dtype}, channels last": _channels_last(vae)}
    return _full_decodes(lab, side, vaes | {"float32": copy.deepcopy(vae).to(torch.float32)})


def measure_cost(lab: Lab, side: int, rows: int) -> list[Point]:
    """Every kind has an engine and a batch of its own; they take turns, as many steps at a time as a request has."""
    model = lab.fast(lab.speedups, [side], [rows])
    num_steps, count = lab.scale.num_steps, rows // 2
    seconds: dict[str, list[float]] = {}
    with ExitStack() as stack:
        rollings = {kind.name: _start(lab, model, kind, side, rows) for kind in kinds(lab.device, side)}
        for rolling in rollings.values():
            stack.callback(rolling.stop)
        rounds = min(MOST_ROUNDS, lab.scale.rounds)
        for number in range(rounds):
            lab.say(f"round {number + 1} of {rounds}")
            for name in list(rollings) if number % 2 == 0 else list(rollings)[::-1]:
                seconds.setdefault(name, []).append(rollings[name].run(num_steps) / num_steps)
    what: dict[str, Label] = {"work": "cost", "side": side, "rows": rows, "pictures a step": count / num_steps}
    return [Point(what=what | {"kind": name}, figures={"seconds": each}) for name, each in seconds.items()]


def kinds(device: torch.device, side: int) -> list[Kind]:
    """Nothing; pictures alone; previews at every 5th step and at every step, of the usual and of the full size.

    Between steps it is pictures that matter, so there previews are of the usual size alone.
    """
    asides = list(ASIDES) if device.type == "cuda" else ["inline"]
    sizes = list(dict.fromkeys((min(USUAL, side), side)))
    previews = [
        Kind(f"every {'step' if every == 1 else '5th step'}, {size} pixels", aside, every, size)
        for every in (5, 1)
        for size in sizes
        for aside in asides
        if aside != BETWEEN or size == sizes[0]
    ]
    return [Kind(NOTHING, ""), *(Kind(PICTURES_ONLY, aside) for aside in asides), *previews]


def table(known: Known) -> str:
    points = known("previews")
    parts = [_cost_table(points), _decode_table(points, "preview decode"), _decode_table(points, "full decode")]
    return "\n\n".join(part for part in parts if part)


def cost(point: Point, points: Sequence[Point]) -> list[float]:
    """Of the throughput, by round: what previews take beside the pictures alone, pictures beside nothing.

    What is made in a side stream is compared with pictures in a side stream, and so on.
    """
    kind = str(point.what["kind"])
    aside = kind.rpartition(", ")[2]
    base = NOTHING if kind.startswith(PICTURES_ONLY) else f"{PICTURES_ONLY}, {aside}"
    shape = {key: value for key, value in point.what.items() if key != "kind"}
    other = next(each for each in points if each.what == shape | {"kind": base})
    pairs = zip(other.figures["seconds"], point.figures["seconds"], strict=True)
    return [1 - without / with_them for without, with_them in pairs]


def _start(lab: Lab, model: Model, kind: Kind, side: int, rows: int) -> Rolling:
    num_steps = ENDLESS_STEPS if kind.what == NOTHING else lab.scale.num_steps
    params = make_params(side, num_steps, preview_every=kind.preview_every, preview_size=kind.preview_size)
    aside = ASIDES.get(kind.aside, choose_aside)
    return Rolling(lab.engine(model, rows, aside(lab.device)), params, rows // 2, lab.scale.num_steps)


def _full_decodes(lab: Lab, side: int, vaes: Mapping[str, Any]) -> list[Point]:
    works: dict[str, Work] = {}
    labels: dict[str, dict[str, Label]] = {}
    for kind, vae in vaes.items():
        for number in PICTURES[:2]:
            name = f"{kind} {number}"
            works[name] = partial(_decode, vae, _latents(lab, side, number))
            labels[name] = {"work": "full decode", "side": side, "pictures": number, "kind": kind}
    seconds = interleaved(works, lab.scale.rounds, lab.device, lab.scale.least_seconds)
    return [Point(what=labels[name], figures={"seconds": seconds[name]}) for name in works]


@torch.inference_mode()
def _decode(vae: Any, latents: Tensor) -> object:
    return decode(vae, latents)


def _channels_last(vae: Any) -> Any:
    return copy.deepcopy(vae).to(memory_format=torch.channels_last)


def _latents(lab: Lab, side: int, number: int) -> Tensor:
    pipe = lab.model().pipe
    latent_side = side // pipe.vae_scale_factor
    return torch.randn(number, pipe.unet.config.in_channels, latent_side, latent_side, device=lab.device)


def _cost_table(points: Sequence[Point]) -> str:
    chosen = [point for point in points if point.what["work"] == "cost"]
    rows = [
        (*_size(point), str(point.what["rows"]), str(point.what["kind"]), *_cost_cells(point, chosen))
        for point in chosen
    ]
    header = ("size", "rows", "beside the steps", "ms a step", "images/s", "cost")
    note = "Costs: of pictures against nothing, of previews against pictures alone, made in the same way."
    return f"{table_of(header, rows)}\n\n{note}" if rows else ""


def _cost_cells(point: Point, points: Sequence[Point]) -> tuple[str, str, str]:
    seconds = point.figures["seconds"]
    speed = float(point.what["pictures a step"]) / median(seconds)
    if point.what["kind"] == NOTHING:
        return milliseconds(seconds), f"{speed:.2f}", ""
    costs = cost(point, points)
    return milliseconds(seconds), f"{speed:.2f}", f"{median(costs):.1%} ({min(costs):.1%} to {max(costs):.1%})"


def _decode_table(points: Sequence[Point], work: str) -> str:
    chosen = [point for point in points if point.what["work"] == work]
    rows = [(*_size(point), *_decode_cells(point)) for point in chosen]
    return table_of(("size", work, "pictures", "ms", "ms a picture"), rows) if rows else ""


def _decode_cells(point: Point) -> tuple[str, ...]:
    what, number = point.what, int(point.what["pictures"])
    kind = str(what["kind"]) if "kind" in what else f"{what['pixels']} pixels"
    return kind, str(number), milliseconds(point.figures["seconds"]), f"{point.median('seconds') * 1000 / number:.2f}"


def _size(point: Point) -> tuple[str]:
    return (f"{point.what['side']}x{point.what['side']}",)
