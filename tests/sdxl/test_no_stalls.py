"""The step loop never waits for the device: shown on a device without data, which nothing can be read from.

PyTorch's `meta` device knows shapes alone. Copies to it are seen, and must be of the kind that nobody waits for; those
that `torch.tensor` makes are not seen, but missed where uploads are counted.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from scheduler.messages import WorkerConfig
from scheduler.request import SAMPLERS, Request, Status
from scheduler.sdxl import pictures
from scheduler.sdxl.aside import SideStream
from scheduler.sdxl.step_engine import StepEngine
from scheduler.sdxl.weights import Model, load_model
from tests.models import save_tiny_sdxl
from tests.sdxl.drive import make_request
from tests.sdxl.held import HeldStreams

META = torch.device("meta")
aten = torch.ops.aten

WAITING = {aten._local_scalar_dense, aten.nonzero, aten.equal, aten.masked_select}


class StallError(AssertionError):
    pass


class NoStalls(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Raises for what waits for a device that is not the CPU. `uploads` counts the copies to it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.uploads = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, packet = kwargs or {}, func.overloadpacket
        if packet in WAITING and args[0].device == META:
            raise StallError(str(func))
        with self:  # in inference mode, operations come that are made of others
            result = NotImplemented if packet is torch.ops.prim.device else func.decompose(*args, **kwargs)
        if result is not NotImplemented:
            return result
        result = func(*args, **kwargs)
        if packet in (aten._to_copy, aten.copy_):
            self._check_copy(args[0] if packet is aten._to_copy else args[1], result, args, kwargs)
        return result

    def _check_copy(self, source: Tensor, result: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if source.device == result.device:
            return
        if source.device == META or not (kwargs.get("non_blocking") or True in args[2:]):
            raise StallError(f"a copy from {source.device} to {result.device}")
        self.uploads += 1


class ShapeStreams(HeldStreams):
    """As much of a device as can be had of shapes alone: all that reaches the host is one."""

    def to_host(self, tensor: Tensor) -> Tensor:
        return super().to_host(torch.ones(tensor.shape, dtype=tensor.dtype))


def without_data(model: Model) -> Model:
    model.pipe.to(META)
    model.tiny_vae.to(META)
    return dataclasses.replace(model, device=META)


@pytest.fixture
def make_engine(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], StepEngine]:
    monkeypatch.setitem(pictures.CHUNK_LATENT_PIXELS, "meta", 64)

    def make(folder: Path) -> StepEngine:
        config = WorkerConfig(model=str(folder), device="cpu", dtype="bfloat16")
        return StepEngine(without_data(load_model(config, lambda _: None)), config, SideStream(ShapeStreams()))

    return make


@pytest.fixture
def engine(make_engine: Callable[[Path], StepEngine], tiny_sdxl: Path) -> StepEngine:
    return make_engine(tiny_sdxl)


def start(id_: str, **params: Any) -> Request:
    request = make_request(id_, **params)
    request.status = Status.RUNNING
    return request


def run(engine: StepEngine, batch: list[Request]) -> None:
    def check(output: Any) -> None:
        assert [each.error for each in output.outputs] == [None] * len(batch)

    engine.run(batch, check)


@pytest.fixture
def watch() -> NoStalls:
    return NoStalls()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_step_waits_for_nothing(engine: StepEngine, watch: NoStalls, sampler: Any) -> None:
    batch = [start("guided", sampler=sampler), start("other", sampler=sampler, guidance_scale=0.0)]
    run(engine, batch)
    with watch:
        for _ in range(2):
            run(engine, batch)


def test_its_numbers_go_over_in_one_piece_and_its_noise_in_another(engine: StepEngine, watch: NoStalls) -> None:
    batch = [start(f"r{index}", sampler=SAMPLERS[index % len(SAMPLERS)], preview_every=0) for index in range(12)]
    run(engine, batch)
    with watch:
        run(engine, batch)
    assert watch.uploads == 2


def test_who_joins_and_who_leaves_makes_nobody_wait(engine: StepEngine, watch: NoStalls) -> None:
    first, second, third = (start(f"r{index}", num_steps=2 + index, guidance_rescale=0.5) for index in range(3))
    run(engine, [first])
    with watch:
        run(engine, [first, second])
        run(engine, [second, third])
        engine.release(first)
        engine.release(third)
        run(engine, [second])
        outputs = list(engine.collect(wait=False))
    assert watch.uploads == 3 + 2 * 2  # a piece each step; for who joins, its latents and its size conditions
    while made := engine.collect(wait=True):
        outputs += made
    assert {output.request for output in outputs if output.image is not None} == {first, second}


def test_new_prompts_make_nobody_wait(engine: StepEngine, watch: NoStalls) -> None:
    first, second, third = (start(f"r{index}", prompt=f"a house, number {index}") for index in range(3))
    run(engine, [first])
    with watch:
        run(engine, [first, second, third])
    assert watch.uploads == 1 + 2 * 2 + 2  # beside what joins needs anyway, the tokens for both encoders


def test_a_guidance_distilled_model_makes_nobody_wait(
    make_engine: Callable[[Path], StepEngine], tmp_path: Path, watch: NoStalls
) -> None:
    engine = make_engine(save_tiny_sdxl(tmp_path, time_cond_proj_dim=8))
    first, second = start("first"), start("second")
    run(engine, [first])
    with watch:
        run(engine, [first, second])


@pytest.mark.parametrize(
    "stall",
    [
        lambda: torch.ones(1, device=META).item(),
        lambda: bool(torch.ones(1, device=META) > 0),
        lambda: torch.ones(3, device=META).nonzero(),
        lambda: torch.ones(3, device=META).cpu(),
        lambda: torch.ones(3).to(META),
        lambda: torch.empty(3, device=META).copy_(torch.ones(3)),
    ],
    ids=["item", "bool", "nonzero", "to the host", "to the device", "into a tensor"],
)
def test_the_watch_sees_what_waits(stall: Callable[[], object], watch: NoStalls) -> None:
    with watch, torch.inference_mode(), pytest.raises((StallError, NotImplementedError)):
        stall()


def test_the_watch_counts_copies_that_nobody_waits_for(watch: NoStalls) -> None:
    with watch, torch.inference_mode():
        torch.ones(2).to(META, non_blocking=True)
        torch.empty(2, device=META).copy_(torch.ones(2), non_blocking=True)
    assert watch.uploads == 2
