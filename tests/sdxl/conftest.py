"""Models for the engine tests, and what an engine needs to be judged."""

import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: its threads must not spin beside other programs

import pytest
import torch

from scheduler.engine import Engine
from scheduler.messages import WorkerConfig
from scheduler.postcard import bundled_model
from scheduler.sdxl import load
from scheduler.sdxl.float8 import what_is_wrong
from scheduler.sdxl.hush import hush_libraries
from tests.models import save_tiny_sdxl
from tests.sdxl.oracle import Oracle
from tests.tools import require

hush_libraries()
torch.set_num_threads(2)

LoadEngine = Callable[..., Engine]


@pytest.fixture(scope="session")
def tiny_sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_sdxl(tmp_path_factory.mktemp("models") / "tiny-sdxl")


@pytest.fixture(scope="session")
def tiny_oracle(tiny_sdxl: Path) -> Oracle:
    return Oracle(tiny_sdxl)


@pytest.fixture(scope="session")
def postcard_oracle() -> Oracle:
    return Oracle(bundled_model())


@pytest.fixture(scope="session")
def load_engine() -> LoadEngine:
    """In fp32, as the oracle."""

    def load_in_fp32(model: Path, **config: object) -> Engine:
        fields = {"model": str(model), "device": "cpu", "dtype": "float32", "calibration": "skip"} | config
        return load(WorkerConfig(**fields), progress=lambda _: None)  # type: ignore[arg-type]

    return load_in_fp32


@pytest.fixture(scope="session")
def needs_float8() -> None:
    require(what_is_wrong(torch.device("cpu")) is None, f"PyTorch {torch.__version__} multiplies in no float8 on a CPU")


@pytest.fixture(scope="session")
def step_engine(load_engine: LoadEngine, tiny_sdxl: Path) -> Engine:
    return load_engine(tiny_sdxl, batching="step")


@pytest.fixture(scope="session")
def call_engine(load_engine: LoadEngine, tiny_sdxl: Path) -> Engine:
    return load_engine(tiny_sdxl, batching="call")


@pytest.fixture(params=["step", "call"])
def batching(request: pytest.FixtureRequest) -> str:
    """For tests of both engines."""
    return str(request.param)


@pytest.fixture
def tiny_engine(batching: str, request: pytest.FixtureRequest) -> Engine:
    engine: Engine = request.getfixturevalue(f"{batching}_engine")
    return engine
