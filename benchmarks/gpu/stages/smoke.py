"""What depends on the device, each by itself and small: whether it works, and what it says if it does not."""

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import msgspec
import torch
from torch import Tensor

from benchmarks.gpu.lab import PLAIN, Lab, make_params, running
from benchmarks.gpu.likeness import picture_differences, run_to_pictures
from benchmarks.gpu.scale import SMALL, Scale
from benchmarks.gpu.stages.steps import unet_call
from benchmarks.gpu.store import Point
from benchmarks.gpu.tasks import Known, Task
from benchmarks.tables import table as table_of
from scheduler.engine import RequestOutput, StepOutput, describe
from scheduler.messages import Speedups, WorkerConfig
from scheduler.postcard import bundled_model
from scheduler.request import SAMPLERS, Request, Status
from scheduler.sdxl.aside import Aside, Inline, between_steps, choose_aside
from scheduler.sdxl.call_engine import CallEngine
from scheduler.sdxl.gauge import choose_gauge, taken
from scheduler.sdxl.memory import is_out_of_memory
from scheduler.sdxl.step_engine import StepEngine

cuda: Any = torch.cuda  # partly untyped

SIDE, ROWS, NUM_STEPS = 128, 4, 4
ENDLESS_STEPS = 100
"""Of requests that never come to their picture."""
LEAST_DECIBEL = 25.0
"""Of pictures of few steps against plain ones; float8 has about 40, other pictures have about 10."""

Check = Callable[[Lab], str]
"""Says what it found; raises if it does not work."""


class CheckError(Exception):
    """It runs, and does not do what it is for."""


def tasks(scale: Scale) -> list[Task]:  # noqa: ARG001 - as small on any scale
    return [
        Task("checks", 0, 45, partial(measure, chosen=checks)),
        Task("compiler", 0, 60, partial(measure, chosen=compiler)),
    ]


def measure(lab: Lab, chosen: Callable[[torch.device], dict[str, Check]]) -> list[Point]:
    """With Postcard, which is there in any case."""
    small = Lab(str(bundled_model()), lab.device, lab.dtype, SMALL, say=lab.say)
    points = []
    for name, check in chosen(lab.device).items():
        began = time.perf_counter()
        try:
            said, works = check(small), 1.0
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what we are here to learn
            traceback.print_exc()
            said, works = describe(error), 0.0
        lab.say(f"{name}: {said}")
        with suppress(RuntimeError):  # of a device that is lost
            small.release()
        figures = {"works": [works], "seconds": [time.perf_counter() - began]}
        points.append(Point(what={"check": name, "said": said}, figures=figures))
    return points


def checks(device: torch.device) -> dict[str, Check]:
    """What takes a second or two each."""
    graphs = Speedups(cuda_graphs=True)
    everywhere: dict[str, Check] = {
        "pictures and previews": partial(paint, speedups=PLAIN),
        "all samplers": run_samplers,
        "call mode": paint_in_a_call,
        "channels last, fused QKV": partial(paint, speedups=Speedups(channels_last=True, fuse_qkv=True)),
        "attention: flash": partial(paint, speedups=Speedups(attention="flash")),
        "attention: math": partial(paint, speedups=Speedups(attention="math")),
        "attention: fastest": partial(paint, speedups=Speedups(attention="fastest", fuse_qkv=True)),
        "float8": partial(paint, speedups=Speedups(float8=True)),
    }
    on_a_card: dict[str, Check] = {
        "attention: cudnn": partial(paint, speedups=Speedups(attention="cudnn")),
        "attention: efficient": partial(paint, speedups=Speedups(attention="efficient")),
        "decodes in a stream beside": partial(paint, speedups=PLAIN, make_aside=choose_aside),
        "decodes between steps": partial(paint, speedups=PLAIN, make_aside=between_steps),
        "no step waits for the device": partial(step_without_waiting, speedups=PLAIN),
        "CUDA graphs": partial(paint, speedups=graphs, make_aside=choose_aside),
        "CUDA graphs of all networks": partial(paint, speedups=of_all(graphs), make_aside=choose_aside),
        "no recorded step waits for the device": partial(step_without_waiting, speedups=of_all(graphs)),
        "CUDA graphs, cuDNN's search": partial(paint, speedups=_with(graphs, cudnn_benchmark=True)),
        "memory is measured": measure_memory,
        "memory of graphs is counted": count_graphs,
        "out of memory is recognised": run_out_of_memory,
    }
    return everywhere | (on_a_card if device.type == "cuda" else {})


def compiler(device: torch.device) -> dict[str, Check]:
    wanted = Speedups(compile="default", channels_last=True, fuse_qkv=True, attention="fastest")
    recorded = _with(wanted, cuda_graphs=device.type == "cuda")
    return {"compiled": partial(paint, speedups=wanted), "compiled and recorded": partial(paint, speedups=recorded)}


def of_all(speedups: Speedups) -> Speedups:
    return _with(speedups, warm_vae=True, warm_previews=True, warm_text=True)


def table(known: Known) -> str:
    rows = [
        (
            str(point.what["check"]),
            "yes" if point.median("works") else "no",
            str(point.what["said"]),
            f"{point.median('seconds'):.1f}",
        )
        for point in known("smoke")
    ]
    return table_of(("check", "works", "what it said", "s"), rows) if rows else ""


def paint(lab: Lab, speedups: Speedups, make_aside: Callable[[torch.device], Aside] = lambda _: Inline()) -> str:
    """Pictures, with previews at every step, against those of the plain way."""
    requests = running(make_params(SIDE, NUM_STEPS, preview_every=1), ROWS // 2)
    expected = run_to_pictures(lab.engine(lab.model(), ROWS, Inline()), requests)
    model = lab.fast(speedups, [SIDE], [ROWS])
    return _compare(run_to_pictures(lab.engine(model, ROWS, make_aside(lab.device)), requests), expected)


def paint_in_a_call(lab: Lab) -> str:
    requests = running(make_params(SIDE, NUM_STEPS, preview_every=1), ROWS // 2)
    expected = run_to_pictures(lab.engine(lab.model(), ROWS, Inline()), requests)
    outputs: list[RequestOutput] = []

    def note(step: StepOutput) -> None:
        outputs.extend(step.outputs)

    engine = CallEngine(lab.engine(lab.model(), ROWS).model, WorkerConfig(model=lab.model_name, batching="call"))
    engine.run(requests, note)
    while made := engine.collect(wait=True):
        outputs.extend(made)
    pictures = {each.request.id: torch.from_numpy(each.image.copy()) for each in outputs if each.image is not None}
    return _compare([pictures[request.id] for request in requests], expected)


def run_samplers(lab: Lab) -> str:
    for name in SAMPLERS:
        params = make_params(SIDE, NUM_STEPS, sampler=name)
        run_to_pictures(lab.engine(lab.model(), ROWS, Inline()), running(params, 1))
    return ", ".join(SAMPLERS)


def step_without_waiting(lab: Lab, speedups: Speedups) -> str:
    """A request joins another, both with previews, and comes to its picture; PyTorch raises where the program would
    wait. What waits inside a request's own work ends that request, and is raised here."""
    engine = lab.engine(lab.fast(speedups, [SIDE], [ROWS]), ROWS, choose_aside(lab.device))
    (endless,) = running(make_params(SIDE, ENDLESS_STEPS, preview_every=1), 1)
    _join(engine, endless, "first")  # what libraries do once may wait
    with _raising_for_waits():
        outputs = _join(engine, endless, "second")
    if errors := [each.error for each in outputs if each.error is not None]:
        raise CheckError(errors[0])
    if not any(each.image is not None for each in outputs):
        raise CheckError("there is no picture")
    return f"{NUM_STEPS} steps, joined by a request, to its picture"


def _join(engine: StepEngine, endless: Request, name: str) -> list[RequestOutput]:
    """All that comes of it."""
    params = make_params(SIDE, NUM_STEPS, preview_every=1, prompt=f"{name} to join")
    joining = Request(name, params, status=Status.RUNNING)
    outputs: list[RequestOutput] = []

    def note(step: StepOutput) -> None:
        outputs.extend(step.outputs)

    for _ in range(NUM_STEPS):
        engine.run([endless, joining], note)
        outputs += engine.collect(wait=False)
    while made := engine.collect(wait=True):
        outputs += made
    return outputs


def measure_memory(lab: Lab) -> str:
    gauge = choose_gauge(lab.device)
    step = taken(gauge, unet_call(lab.model(), SIDE, ROWS))
    if not 0 < step < gauge.available():
        raise CheckError(f"a step takes {step} of {gauge.available()} bytes")
    return f"a step takes {step / 2**20:.0f} MiB of {gauge.available() / 2**30:.1f} GiB"


def count_graphs(lab: Lab) -> str:
    """What only they may use is less to have."""
    gauge = choose_gauge(lab.device)
    before = gauge.available()
    model = lab.fast(Speedups(cuda_graphs=True), [SIDE], [ROWS])
    kept = before - gauge.available()
    if kept <= 0 or not model.ready_peaks:
        raise CheckError(f"graphs keep {kept} bytes, steps take {list(model.ready_peaks)}")
    return f"graphs keep {kept / 2**20:.0f} MiB, a recorded step took {model.ready_peaks[0].num_bytes / 2**20:.0f} MiB"


def run_out_of_memory(lab: Lab) -> str:
    _, total = cuda.mem_get_info(lab.device)
    try:
        torch.empty(2 * total, dtype=torch.uint8, device=lab.device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        choose_aside(lab.device).free_memory()
        return type(error).__name__
    raise CheckError(f"{2 * total} bytes were given out of {total}")


@contextmanager
def _raising_for_waits() -> Iterator[None]:
    cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        cuda.set_sync_debug_mode("default")


def _compare(actual: Sequence[Tensor], expected: Sequence[Tensor]) -> str:
    worst = min(picture_differences(actual, expected)["decibel"])
    if worst < LEAST_DECIBEL:
        raise CheckError(f"other pictures than the plain ones: {worst:.0f} dB")
    return f"{worst:.0f} dB to the plain pictures"


def _with(speedups: Speedups, **changes: object) -> Speedups:
    return msgspec.structs.replace(speedups, **changes)
