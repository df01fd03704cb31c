"""Models and requests to measure with."""

from pathlib import Path

import pytest
import torch

from benchmarks.gpu.lab import Lab, make_params, running, strict, unet_inputs
from benchmarks.gpu.rolling import Rolling
from benchmarks.gpu.services import speedup_flags
from scheduler.messages import Speedups
from scheduler.sdxl import warming
from service.settings import ServeSettings


def test_a_copy_may_be_changed(lab: Lab) -> None:
    copy = lab.copy()
    with torch.no_grad():
        copy.pipe.unet.conv_out.weight.zero_()
    assert lab.model().pipe.unet.conv_out.weight.any()
    assert lab.model() is lab.model()


def test_another_dtype_has_the_same_weights(lab: Lab) -> None:
    low, exact = lab.model("bfloat16"), lab.model("float32")
    assert exact.dtype == exact.pipe.unet.dtype == torch.float32
    assert torch.equal(exact.pipe.unet.conv_out.weight.bfloat16(), low.pipe.unet.conv_out.weight)


def test_a_part_that_memory_does_not_hold_is_not_measured_as_if_it_were_ready(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warming, "warm_all", lambda *_: {})
    model = lab.copy()
    with pytest.raises(MemoryError):
        lab.ready(Speedups(), lambda wrap: warming.vae_shapes(model, wrap, [(64, 64)]))


def test_inputs_are_the_same_for_every_dtype(lab: Lab) -> None:
    low, exact = (unet_inputs(lab.model(dtype).pipe.unet, 2, 8)["sample"] for dtype in ("bfloat16", "float32"))
    assert torch.equal(exact.bfloat16(), low)


def test_what_would_be_compiled_again_is_an_error() -> None:
    """In a service it would run as it was written, and here be taken for a compiled call."""
    fast = torch.compile(lambda x: x + 1, backend="eager", dynamic=False)
    fast(torch.zeros(2))
    assert strict(lambda: fast(torch.zeros(2)))().tolist() == [1, 1]
    with pytest.raises(RuntimeError):
        strict(lambda: fast(torch.zeros(3)))()
    torch.compiler.reset()


def test_the_service_understands_the_flags_of_speedups() -> None:
    wanted = Speedups(channels_last=True, compile="default", warm_sizes=((64, 72), (80, 80)), warm_rows=(2, 8))
    flags = speedup_flags(wanted)
    assert flags == ["--channels-last", "--compile", "default", "--warm-sizes", "64x72,80x80", "--warm-rows", "2,8"]
    assert speedup_flags(Speedups()) == []
    given = {"channels_last": True, "compile": "default", "warm_sizes": "64x72,80x80", "warm_rows": "2,8"}
    settings = ServeSettings.model_validate(given)
    assert settings.worker_config().speedups == wanted


def test_a_rolling_batch_stays_full(lab: Lab) -> None:
    engine = lab.engine(lab.model(), 4)
    rolling = Rolling(engine, make_params(64, 3), count=2, spread=3)
    assert rolling.run(7) > 0
    rolling.stop()
    assert engine.collect(wait=True) == []


def test_a_rolling_batch_waits_while_the_device_has_enough_to_do(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, seconds = lab.engine(lab.model(), 2), [1e-6, 1e-6, 0.0, 0.0]
    monkeypatch.setattr(engine, "seconds_to_spare", lambda: seconds.pop(0))
    rolling = Rolling(engine, make_params(64, 3), count=1, spread=1)
    assert seconds == [0.0]
    rolling.run(1)
    rolling.stop()
    assert seconds == []


def test_running_requests_have_seeds_of_their_own() -> None:
    assert [request.params.seed for request in running(make_params(64, 3), 3)] == [0, 1, 2]


def test_a_folder_is_the_model_itself(lab: Lab) -> None:
    assert lab.folder == Path(lab.model_name)
