"""Programs that some tests need and a machine may lack."""

import os
import shutil

import pytest

REQUIRE_TOOLS = "LATENTCAST_REQUIRE_TOOLS"


def require_tool(*names: str) -> str:
    """Path of the first of `names` that is installed.

    Without any of them the test is skipped with a visible reason; with LATENTCAST_REQUIRE_TOOLS=1 it fails.
    """
    for name in names:
        path = shutil.which(name)
        if path is not None:
            return path
    reason = f"{' or '.join(names)} is not installed"
    if os.environ.get(REQUIRE_TOOLS) == "1":
        pytest.fail(f"{reason}, and {REQUIRE_TOOLS}=1 asks for it")
    pytest.skip(reason)
