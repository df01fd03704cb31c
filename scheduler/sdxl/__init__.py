"""Engines for models of the SDXL architecture. The only package that imports torch and diffusers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from scheduler.engine import Engine
    from scheduler.messages import WorkerConfig


def load(config: WorkerConfig, progress: Callable[[str], None]) -> Engine:
    """Load a model and warm it up. Raises `LoadError` with one line that says what to do."""
    # Imported here, so that naming this package costs nothing; and hushed before diffusers comes in, which talks.
    from scheduler.sdxl.hush import hush_libraries

    hush_libraries()

    from scheduler.sdxl.loading import load_engine

    return load_engine(config, progress)
