"""Imports point one way, and the service's process never loads what only a worker needs."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import scheduler

ROOT = Path(__file__).parents[1]

FLOORS = {
    "request": 0,
    "postcard": 0,
    "version": 0,
    "bell": 0,
    "padding": 0,
    "messages": 1,
    "engine": 2,
    "calibration": 2,
    "room": 2,
    "cost": 3,
    "wire": 2,
    "calibration_cache": 3,
    "link": 3,
    "fake_engine": 3,
    "images": 3,
    "scheduler": 4,
    "call_scheduler": 5,
    "client": 4,
    "outbox": 4,
    "placement": 5,
    "sdxl": 4,
    "loop": 6,
    "worker": 7,
}
"""The modules of `scheduler`: each may import from lower floors only."""

SERVICE_SIDE = {"client", "link", "placement"}
WORKER_SIDE = {"engine", "fake_engine", "images", "scheduler", "sdxl", "call_scheduler", "outbox", "loop", "worker"}
MODEL_LIBRARIES = {"torch", "diffusers", "transformers", "safetensors", "accelerate", "huggingface_hub"}
HTTP_LIBRARIES = {"aiohttp", "aiohttp_sse", "prometheus_client", "pydantic", "pydantic_settings", "uvloop"}


def files_of(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    """Full names of all that a file imports, also inside functions: `from a import b` gives `a.b`."""
    return set(_imports(ast.parse(path.read_text(encoding="utf-8"))))


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(path: Path) -> str:
    """`scheduler/sdxl/rows.py` -> `sdxl`, `scheduler/loop.py` -> `loop`."""
    return path.relative_to(ROOT / "scheduler").with_suffix("").parts[0]


def libraries_of(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports_of(path)}


def ids(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


SCHEDULER_FILES = files_of("scheduler")
SERVICE_FILES = files_of("service")


def test_the_package_is_ours() -> None:
    assert Path(scheduler.__file__).parent == ROOT / "scheduler"


@pytest.mark.parametrize("path", SCHEDULER_FILES, ids=ids(SCHEDULER_FILES))
def test_scheduler_imports_from_lower_floors_only(path: Path) -> None:
    module = module_of(path)
    if module == "__init__":
        assert imports_of(path) == set()
        return
    assert module in FLOORS, "a new module: say in FLOORS where it stands"
    names = {name.split(".")[1] for name in imports_of(path) if name.startswith("scheduler.")}
    for name in names - {module}:
        assert FLOORS[name] < FLOORS[module], f"{module} must not import {name}"
    if module in SERVICE_SIDE:
        assert not names & WORKER_SIDE


@pytest.mark.parametrize("path", SCHEDULER_FILES, ids=ids(SCHEDULER_FILES))
def test_scheduler_knows_nothing_of_http_and_models_stay_in_sdxl(path: Path) -> None:
    libraries = libraries_of(path)
    assert not libraries & {"service", *HTTP_LIBRARIES}
    assert module_of(path) == "sdxl" or not libraries & MODEL_LIBRARIES
    assert path == ROOT / "scheduler/placement/ray.py" or "ray" not in libraries


@pytest.mark.parametrize("path", SERVICE_FILES, ids=ids(SERVICE_FILES))
def test_service_imports_no_model_library_and_nothing_of_the_workers(path: Path) -> None:
    assert not libraries_of(path) & {"ray", *MODEL_LIBRARIES}
    names = {name.split(".")[1] for name in imports_of(path) if name.startswith("scheduler.")}
    assert not names & WORKER_SIDE


def test_neither_package_loads_torch() -> None:
    """All modules but those of the engine itself, in a process of its own."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in [*SCHEDULER_FILES, *SERVICE_FILES]
        if "sdxl" not in path.parts and path.name != "__main__.py"
    ]
    script = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]; print(*sys.modules)"
    command = [sys.executable, "-c", script, *modules]
    loaded = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    assert "scheduler.worker" in loaded
    assert not MODEL_LIBRARIES & set(loaded)
