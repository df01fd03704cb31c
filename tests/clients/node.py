"""Runs JavaScript clients in Node, with the packages of `package.json` beside this file (`make clients`)."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.tools import require_path, require_tool

FOLDER = Path(__file__).parent
TIMEOUT_SECONDS = 60.0


class Node:
    """Skips the test, or fails it where tools are required, without Node or the packages."""

    def __init__(self) -> None:
        self._path = require_tool("node")
        require_path(FOLDER / "node_modules", "make clients")

    def run(self, script: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        """What a module prints; `script` is its text, and imports the packages by name.

        An exception that the script lets go fails the test with all that was printed.
        """
        done = subprocess.run(
            [self._path, "--input-type=module", "-", *arguments],
            input=script,
            cwd=FOLDER,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def run_file(self, name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Any:
        """The JSON that a script of this folder prints."""
        return json.loads(self.run((FOLDER / name).read_text(), *arguments, environment=environment))
