"""The page's modules are valid JavaScript, also for those who read them with other tools than a browser."""

import subprocess
from pathlib import Path

import pytest

from tests.tools import require_tool

MODULES = sorted((Path(__file__).parents[2] / "service/web").glob("*.js"))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_module_parses(module: Path) -> None:
    command = (require_tool("node"), "--input-type=module", "--check", "-")
    result = subprocess.run(command, input=module.read_bytes(), capture_output=True, check=False)
    assert result.returncode == 0, result.stderr.decode()
