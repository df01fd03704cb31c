"""Programs and packages that some tests need and a machine may lack."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

REQUIRE_TOOLS = "LATENTCAST_REQUIRE_TOOLS"


def require_tool(*names: str) -> str:
    """Path of the first of `names` that is installed.

    Without any of them the test is skipped with a visible reason; with LATENTCAST_REQUIRE_TOOLS=1 it fails.
    """
    found = [path for path in map(shutil.which, names) if path is not None]
    if not found:
        _lacking(f"{' or '.join(names)} is not installed")
    return found[0]


def require_path(path: Path, remedy: str) -> None:
    """As `require_tool`, for what a command puts into the checkout: `remedy` is that command."""
    if not path.exists():
        _lacking(f"{path.name} is not there ({remedy})")


def require(is_there: bool, reason: str) -> None:
    """As `require_tool`, for anything else: `reason` tells what is lacking."""
    if not is_there:
        _lacking(reason)


def _lacking(reason: str) -> NoReturn:
    if os.environ.get(REQUIRE_TOOLS) == "1":
        pytest.fail(f"{reason}, and {REQUIRE_TOOLS}=1 asks for it")
    pytest.skip(reason)
