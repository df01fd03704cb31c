"""Every stage, small, on a CPU: each of its tasks gives points, and they make a table."""

from collections.abc import Callable, Sequence

import pytest
import torch

from benchmarks.gpu import services
from benchmarks.gpu.lab import Lab, make_params
from benchmarks.gpu.plan import STAGES
from benchmarks.gpu.scale import FULL
from benchmarks.gpu.stages import ceiling, parity, previews, sampler, serve, steps
from benchmarks.gpu.stages.ceiling import bf16_flops
from benchmarks.gpu.stages.sampler import Kernel, busy
from benchmarks.gpu.store import Label, Point
from benchmarks.servers import ServerError
from scheduler.messages import Speedups

Measured = Callable[[str], Sequence[Point]]


@pytest.fixture(scope="module")
def measured(lab: Lab) -> Measured:
    """The points of a stage, all of its tasks run once."""
    known: dict[str, list[Point]] = {}

    def points(stage: str) -> list[Point]:
        if stage not in known:
            known[stage] = [point for task in STAGES[stage].tasks(lab.scale) for point in task.measure(lab)]
        return known[stage]

    return points


def rows_of(table: str) -> list[list[str]]:
    """The cells of all tables, without their headers."""
    lines = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("stage", ["ceiling", "steps", "sampler", "previews", "parity", "memory"])
def test_a_stage_gives_a_table_of_its_points(stage: str, measured: Measured) -> None:
    points = measured(stage)
    assert points
    for point in points:
        assert all(values for values in point.figures.values())
    assert len(rows_of(STAGES[stage].table(lambda name: measured(name) if name == stage else []))) > 1


def test_the_ceiling_is_that_of_bfloat16(measured: Measured) -> None:
    flops = bf16_flops(measured)
    assert flops is not None
    assert flops > 0
    assert bf16_flops(lambda _: []) is None


def test_all_rungs_of_the_scale_are_measured_with_their_error(lab: Lab, measured: Measured) -> None:
    ladder = [point for point in measured("steps") if "error" in point.figures]
    assert {point.what["rung"] for point in ladder} == set(lab.scale.rungs)
    assert all(0 < point.figures["error"][0] < 0.1 for point in ladder)


def rung_point(rung: str, seconds: float, **more: list[float]) -> Point:
    figures = {"seconds": [seconds], "flop": [1e12], "ready": [3.0]} | more
    return Point(what={"side": 1024, "rows": 8, "rung": rung}, figures=figures)


def test_rungs_that_took_turns_are_compared(lab: Lab) -> None:
    eager, fast = steps.measure(lab, 64, 2, ("eager", "channels_last"))
    rounds = zip(eager.figures["seconds"], fast.figures["seconds"], strict=True)
    assert fast.figures["ratio"] == [e / f for e, f in rounds]
    assert "ratio" not in eager.figures


def test_of_a_rung_the_newest_figures_count_and_the_first_compilation() -> None:
    key = (1024, 8, "compile")
    cold = rung_point("compile", 0.02, ready=[60.0], ratio=[1.5])
    warm = rung_point("compile", 0.01, ready=[9.0])
    failure = Point(what={"side": 1024, "rows": 8, "rung": "compile", "error": "no compiler"}, figures={})
    merged = steps.merged([failure, cold, warm, failure])[key]
    assert merged.figures == warm.figures | {"ready": [60.0], "ratio": [1.5]}
    assert steps.merged([failure])[key] == failure


def test_steps_tell_how_a_rung_stands_to_the_one_below() -> None:
    ceiling = Point(what={"work": "product", "kind": "bfloat16"}, figures={"seconds": [0.01], "flop": [8e12]})
    fast = rung_point("channels_last", 0.01, ratio=[1.9, 2.0, 2.1])
    known = {"steps": [fast, rung_point("eager", 0.02)], "ceiling": [ceiling]}
    _, eager, channels_last = rows_of(steps.table(known.__getitem__))
    assert eager == ["1024x1024", "8", "eager", "20.0", "50", "6%", "", "10.00", "3 s", ""]
    assert channels_last == ["1024x1024", "8", "channels_last", "10.0", "100", "12%", "2.00x eager", "20.00", "3 s", ""]


def test_a_rung_that_cannot_be_climbed_says_why(lab: Lab) -> None:
    eager, graphs = sorted(steps.measure(lab, 64, 2, ("eager", "CUDA graphs")), key=lambda point: "error" in point.what)
    assert eager.figures["seconds"]
    assert "needs a CUDA device" in str(graphs.what["error"])
    assert "needs a CUDA device" in steps.table(lambda name: [eager, graphs] if name == "steps" else [])


def test_every_attention_of_the_unet_is_measured_in_every_kernel(lab: Lab) -> None:
    points = ceiling.measure_attention(lab, 64, 2)
    assert {(point.what["work"], point.what["kind"]) for point in points} == {
        (f"attention of 16 to {keys}, 2 heads", kind) for keys in (16, 24) for kind in ("flash", "math")
    }
    assert {point.figures["flop"][0] for point in points} == {4.0 * 2 * 2 * 16 * keys * 8 for keys in (16, 24)}


def test_float8_is_measured_where_the_scale_has_it(lab: Lab) -> None:
    names = [task.name for task in STAGES["fp8"].tasks(FULL)]
    assert names == ["pictures 1024", "speed 1024, 8 rows", "speed 512, 16 rows"]
    assert [task.name for task in STAGES["fp8"].tasks(lab.scale)] == ["pictures 64"]


def test_parity_holds_on_a_cpu(measured: Measured) -> None:
    for point in measured("parity"):
        exact = point.what["dtype"] == "float32" and point.what["reference dtype"] == "float32"
        assert max(point.figures["error"]) < (1e-4 if exact else 0.2)


def test_the_pipeline_paints_what_it_is_asked(lab: Lab) -> None:
    one, other = (parity.call_pipeline(lab.model(), make_params(64, 2, seed=seed)) for seed in (1, 2))
    assert one.shape == (1, 4, 8, 8)
    assert not torch.equal(one, other)


def test_previews_cost_what_they_add() -> None:
    shape: dict[str, Label] = {"work": "cost", "side": 64, "rows": 2, "pictures a step": 0.5}
    seconds = {"nothing decoded": 1.0, "pictures, inline": 1.25, "every 5th step, 64 pixels, inline": 2.5}
    points = [Point(what=shape | {"kind": kind}, figures={"seconds": [each]}) for kind, each in seconds.items()]
    assert previews.cost(points[1], points) == [pytest.approx(0.2)]
    assert previews.cost(points[2], points) == [pytest.approx(0.5)]


def test_on_a_gpu_previews_are_made_inline_beside_the_steps_and_between_them() -> None:
    names = [kind.name for kind in previews.kinds(torch.device("cuda"), 1024)]
    assert names[:4] == ["nothing decoded", "pictures, inline", "pictures, side stream", "pictures, between steps"]
    assert {name for name in names if name.endswith("between steps")} == {
        "pictures, between steps",
        "every 5th step, 512 pixels, between steps",
        "every step, 512 pixels, between steps",
    }
    assert "every 5th step, 512 pixels, side stream" in names
    assert "every step, 1024 pixels, inline" in names


def test_a_device_is_busy_while_any_kernel_runs() -> None:
    kernels = [Kernel("a", 0, 10), Kernel("b", 5, 8), Kernel("c", 20, 25), Kernel("d", 24, 30)]
    assert busy(kernels) == 20


def test_overhead_is_what_the_unet_does_not_take() -> None:
    what: dict[str, Label] = {"work": "step", "side": 64, "rows": 2}
    points = [
        Point(what=what | {"kind": sampler.ENGINE}, figures={"seconds": [1.0, 2.0]}),
        Point(what=what | {"kind": sampler.BARE}, figures={"seconds": [0.9, 1.0]}),
    ]
    assert sampler.overhead(points, 64, 2) == [pytest.approx(0.1), pytest.approx(0.5)]


def test_what_is_fast_paints_what_is_plain(measured: Measured) -> None:
    ways = [point for point in measured("parity") if point.what["reference"] == "step, inline"]
    assert [point.what["way"] for point in ways] == [
        "step, beside the steps",
        "step with speed-ups, inline",
        "step with speed-ups, beside the steps",
    ]
    assert all(max(point.figures["levels"]) == 0 for point in ways)


def test_a_service_that_does_not_start_is_started_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []

    def fail(_lab: Lab, flags: tuple[str, ...], _speedups: Speedups) -> None:
        started.append(flags)
        raise ServerError("it was not ready")

    monkeypatch.setattr(services, "service", fail)
    running = services.Services(lab)
    for _ in range(2):
        with pytest.raises(ServerError, match="not ready"):
            running.get("step", 64)
    assert len(started) == 1


def test_a_compiled_service_is_made_ready_for_what_it_is_loaded_with() -> None:
    ready = services.made_ready(Speedups(compile="default"), 512)
    assert (ready.warm_sizes, ready.warm_rows) == (((512, 512),), services.WARM_ROWS)
    assert services.made_ready(ready, 1024) == ready
    assert services.made_ready(Speedups(channels_last=True), 512) == Speedups(channels_last=True)


def test_the_service_is_loaded_in_each_mode(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    points: list[Point] = []
    monkeypatch.setattr(lab, "known", lambda _: points)
    loads = [serve.Load("step", 64, (4,)), serve.Load("step", 64, (4,), 0.5), serve.Load("call", 64, (4,))]
    for load in loads:
        points += serve.measure(lab, load)
    capacity, half, _ = points
    assert half.figures["offered"] == [pytest.approx(0.5 * capacity.figures["images a second"][0])]
    for point in points:
        assert point.figures["failed"] == [0]
        assert point.figures["finished"][0] >= 1
        assert point.figures["rows a step"][0] >= 1
    table = rows_of(serve.table(lambda _: points))
    assert [row[2:4] for row in table[1:]] == [["all it can", "step"], ["all it can", "call"], ["50%", "step"]]


def test_a_share_of_what_is_not_known_cannot_be_offered(lab: Lab) -> None:
    with pytest.raises(LookupError, match="not measured yet"):
        serve.capacity([], serve.Load("step", 64, (4,), 0.8))
    assert lab.scale.fake_service


def test_a_start_is_timed_from_a_folder(lab: Lab) -> None:
    (task,) = STAGES["layout"].tasks(lab.scale)
    points = task.measure(lab)
    assert [point.what["start"] for point in points] == ["the model's speed measured", "not measured"]
    assert all(point.median("seconds") > 0 and point.median("bytes") > 1000 for point in points)
    assert "until ready" in STAGES["layout"].table(lambda _: points)
