"""A lab with a tiny random model on the CPU, for what the stages do; never for how fast."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.gpu.lab import Lab
from benchmarks.gpu.scale import SMALL
from tests.models import save_tiny_sdxl

TINY = dataclasses.replace(
    SMALL, sizes=(64, 72), rows=(1, 2), first=((64, 2), (72, 2)), num_steps=2, matrix=16, load_seconds=0.8
)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_sdxl(tmp_path_factory.mktemp("models") / "tiny-sdxl")


@pytest.fixture(scope="session")
def lab(model_folder: Path) -> Iterator[Lab]:
    """In bfloat16, as on a GPU."""
    made = Lab(str(model_folder), torch.device("cpu"), "bfloat16", TINY)
    yield made
    made.close()
