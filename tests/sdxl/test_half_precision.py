"""With a model in half precision the latents and the sampler stay in fp32, so that the picture stays close."""

from pathlib import Path

import pytest
import torch

from tests.models import save_tiny_sdxl
from tests.sdxl.conftest import LoadEngine
from tests.sdxl.drive import Driver, make_request
from tests.sdxl.oracle import Oracle, error_of_range, largest_difference

# Of the range after 8 steps, where another seed is 0.7 away; a third of each was measured.
NEAR = {"bfloat16": 0.06, "float16": 0.01}
LEVELS = {"bfloat16": 40, "float16": 6}  # of 255


@pytest.fixture(params=["bfloat16", "float16"])
def dtype(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """float16 is refused on a CPU, where it is slow; it runs all the same."""
    dtype = str(request.param)
    monkeypatch.setattr("scheduler.sdxl.weights.choose_dtype", lambda *_: getattr(torch, dtype))
    return dtype


@pytest.mark.parametrize(
    "settings", [{"vae": {"force_upcast": True}}, {"time_cond_proj_dim": 8}], ids=["upcast VAE", "guidance-distilled"]
)
def test_pictures_are_nearly_the_same(
    settings: dict[str, object],
    dtype: str,
    batching: str,
    load_engine: LoadEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = save_tiny_sdxl(tmp_path, **settings)  # type: ignore[arg-type]
    requests = [make_request(f"r{seed}", seed=seed, num_steps=8) for seed in range(3)]
    driver = Driver(load_engine(folder, batching=batching), monkeypatch)
    driver.run({0: requests})
    oracle = Oracle(folder)
    for request in requests:
        trace, lone = driver.traces[request.id], oracle.run(request.params)
        assert {each.dtype for each in trace.latents + trace.x0} == {torch.float32}
        assert 0 < error_of_range(trace.latents[-1], lone.latents[-1]) < NEAR[dtype]
        assert trace.image is not None
        assert largest_difference(trace.image, lone.image) <= LEVELS[dtype]
