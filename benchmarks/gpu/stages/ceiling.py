"""The card's ceiling: matrix products, copies, and the layers that SDXL is made of, each by itself."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everyone calls it

from benchmarks.gpu.card import query
from benchmarks.gpu.lab import Lab
from benchmarks.gpu.scale import Scale
from benchmarks.gpu.store import Label, Point
from benchmarks.gpu.tables import number, spread
from benchmarks.gpu.tasks import Known, Task
from benchmarks.gpu.timing import Work, interleaved
from benchmarks.tables import table as table_of
from scheduler.engine import describe
from scheduler.messages import Speedups
from scheduler.sdxl.device import DTYPES
from scheduler.sdxl.fastest_attention import survey

CLOCKS = ("clocks.sm", "clocks.mem", "power.draw", "temperature.gpu")
CONVOLUTIONS = ((1, 320), (2, 640), (4, 1280))
"""How often the latents' sides are halved, and channels."""


def tasks(scale: Scale) -> list[Task]:
    side, rows = scale.first[0]
    return [
        Task("matrix products", 0, 15, measure_products),
        Task("copies", 1, 10, measure_copies),
        Task(f"attention {side} {rows} rows", 1, 25, partial(measure_attention, side=side, rows=rows)),
        Task(f"convolutions {side} {rows} rows", 1, 20, partial(measure_convolutions, side=side, rows=rows)),
    ]


def measure_products(lab: Lab) -> list[Point]:
    """Square matrices of random numbers: zeros would run faster than any real work."""
    side = lab.scale.matrix
    works: dict[str, Work] = {name: _product(side, dtype, lab.device) for name, dtype in _dtypes(lab.device).items()}
    if _has_float8(lab.device):
        works["float8"] = _float8_product(side, (), (), lab.device)
        works["float8, scaled by row"] = _float8_product(side, (side, 1), (1, side), lab.device)
    points = _timed(lab, works, {"work": "product", "side": side}, {"flop": 2.0 * side**3})
    clocks = query(lab.device, CLOCKS) if lab.device.type == "cuda" else {}
    under_load = {name: [float(text.split()[0])] for name, text in clocks.items() if text[:1].isdigit()}
    return [*points, Point(what={"work": "clocks under load"}, figures=under_load)]


def measure_copies(lab: Lab) -> list[Point]:
    """Bytes read and written on the device; bytes moved between it and pinned memory of the host."""
    count = lab.scale.copy_mib << 20
    source = torch.randint(256, (count,), dtype=torch.uint8, device=lab.device)
    target = torch.empty_like(source)
    points = _timed(lab, {"on the device": lambda: target.copy_(source)}, {"work": "copy"}, {"bytes": 2.0 * count})
    if lab.device.type == "cuda":
        part = source[: count // 16]
        host = torch.empty(part.shape, dtype=torch.uint8, pin_memory=True)
        works: dict[str, Work] = {
            "to the host": lambda: host.copy_(part, non_blocking=True),
            "from the host": lambda: part.copy_(host, non_blocking=True),
        }
        points += _timed(lab, works, {"work": "copy"}, {"bytes": float(part.numel())})
    return points


def measure_attention(lab: Lab, side: int, rows: int) -> list[Point]:
    """Every attention of the UNet by kernel, as it lies in memory where projections are fused."""
    model = lab.fast(Speedups(channels_last=True, fuse_qkv=True), [side], [rows])
    points = []
    for shape, seconds in survey(model, (side, side), rows).items():
        work = f"attention of {shape.queries} to {shape.keys}, {shape.heads} heads"
        flop = 4.0 * rows * shape.heads * shape.queries * shape.keys * shape.head_dim
        what: dict[str, Label] = {"work": work, "rows": rows}
        points += [
            Point(what=what | {"kind": kind}, figures={"seconds": list(each), "flop": [flop]})
            for kind, each in seconds.items()
        ]
    return points


def measure_convolutions(lab: Lab, side: int, rows: int) -> list[Point]:
    points = []
    for halvings, channels in CONVOLUTIONS:
        latent_side = side // 8 // halvings
        works: dict[str, Work] = {
            "channels first": _convolution(lab, rows, channels, latent_side, torch.contiguous_format),
            "channels last": _convolution(lab, rows, channels, latent_side, torch.channels_last),
        }
        what: dict[str, Label] = {"work": f"3x3 convolution, {channels} channels of {latent_side}²", "rows": rows}
        points += _timed(lab, works, what, {"flop": 18.0 * rows * channels**2 * latent_side**2})
    return points


def table(known: Known) -> str:
    """Rates in TFLOP/s and TB/s."""
    points = known("ceiling")
    rows = [
        (str(point.what["work"]), str(point.what.get("kind", "")), _rate(point))
        for point in points
        if "seconds" in point.figures or "error" in point.what
    ]
    clocks = [point.figures for point in points if point.what["work"] == "clocks under load" and point.figures]
    under_load = [
        f"Right after the products: {', '.join(f'{k} {v[0]:.0f}' for k, v in each.items())}." for each in clocks
    ]
    return "\n".join([table_of(("work", "kind", "rate"), rows), "", *under_load]).strip()


def bf16_flops(known: Known) -> float | None:
    """The measured ceiling in FLOP/s, None where it was not measured."""
    products = (
        each for each in known("ceiling") if each.what.get("work") == "product" and each.what.get("kind") == "bfloat16"
    )
    return next((each.figures["flop"][0] / each.median("seconds") for each in products), None)


def _rate(point: Point) -> str:
    if "error" in point.what:
        return str(point.what["error"])
    unit, name = ("TFLOP/s", "flop") if "flop" in point.figures else ("TB/s", "bytes")
    amount = point.figures[name][0]
    return f"{number(amount / point.median('seconds') / 1e12)} {unit} ({spread(point.figures['seconds'])})"


def _timed(lab: Lab, works: Mapping[str, Work], what: dict[str, Label], amount: Mapping[str, float]) -> list[Point]:
    """A point for each kind; those that this device cannot do have their reason."""
    failures = {name: reason for name, work in works.items() if (reason := _failure(work))}
    able = {name: work for name, work in works.items() if name not in failures}
    seconds = interleaved(able, lab.scale.rounds, lab.device, lab.scale.least_seconds)
    amounts = {name: [value] for name, value in amount.items()}
    points = [Point(what=what | {"kind": name}, figures={"seconds": seconds[name]} | amounts) for name in able]
    return [*points, *(Point(what=what | {"kind": k, "error": why}, figures={}) for k, why in failures.items())]


def _failure(work: Work) -> str | None:
    try:
        work()
    except RuntimeError as error:
        return describe(error)
    return None


def _dtypes(device: torch.device) -> dict[str, torch.dtype]:
    return DTYPES if device.type == "cuda" else {name: DTYPES[name] for name in ("float32", "bfloat16")}


def _product(side: int, dtype: torch.dtype, device: torch.device) -> Work:
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return lambda: one @ other


def _has_float8(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 9)


def _float8_product(side: int, shape_a: Sequence[int], shape_b: Sequence[int], device: torch.device) -> Work:
    """With scales of such shapes."""
    one, other = (torch.randn(side, side, device=device).to(torch.float8_e4m3fn) for _ in range(2))
    scale_a, scale_b = (torch.ones(tuple(shape), device=device) for shape in (shape_a, shape_b))
    multiply: Any = torch._scaled_mm  # its only name until PyTorch 2.10
    options = {"scale_a": scale_a, "scale_b": scale_b, "out_dtype": torch.bfloat16, "use_fast_accum": True}
    return lambda: multiply(one, other.t(), **options)


def _convolution(lab: Lab, rows: int, channels: int, side: int, layout: torch.memory_format) -> Work:
    place: dict[str, Any] = {"device": lab.device, "dtype": DTYPES[lab.dtype]}
    images = torch.randn(rows, channels, side, side, **place).to(memory_format=layout)
    weights = torch.randn(channels, channels, 3, 3, **place).to(memory_format=layout)
    return lambda: F.conv2d(images, weights, padding=1)
