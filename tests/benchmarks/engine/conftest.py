"""A workbench with a tiny random model, for what the benchmarks do; never for how fast."""

from collections.abc import Iterator

import pytest

from benchmarks.engine.workbench import Workbench, open_workbench
from scheduler.messages import WorkerConfig
from tests.models import save_tiny_sdxl

MAX_ROWS = 8


@pytest.fixture(scope="session")
def loaded_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    folder = save_tiny_sdxl(tmp_path_factory.mktemp("models") / "tiny-sdxl")
    config = WorkerConfig(model=str(folder), dtype="float32", device="cpu", max_rows=MAX_ROWS, calibration="skip")
    with open_workbench(config) as bench:
        yield bench


@pytest.fixture
def bench(loaded_bench: Workbench) -> Iterator[Workbench]:
    """Empty at first, and emptied after the test."""
    yield loaded_bench
    loaded_bench.clear()
