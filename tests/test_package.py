"""`pip install .` gives a command that paints with the bundled model, wherever it is started."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what the wheel holds."""
    folder = tmp_path_factory.mktemp("installed")
    command = (sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder / "dist"))
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("latentcast-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_holds_the_two_packages_and_nothing_else(installed: Path) -> None:
    assert {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")} == {
        "service",
        "scheduler",
    }


def test_the_wheel_holds_the_page_and_the_model(installed: Path) -> None:
    assert (installed / "service/web/index.html").is_file()
    assert (installed / "scheduler/bundled/postcard/model_index.json").is_file()
    assert (installed / "scheduler/bundled/postcard/preview_vae/config.json").is_file()


def test_the_installed_command_paints(installed: Path, tmp_path: Path) -> None:
    """Without the repository in sight."""
    command = (sys.executable, "-m", "service", "generate", "a red boat at sunset", "--steps", "2", "--size", "64x64")
    environment = os.environ | {"PYTHONPATH": str(installed)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=100)
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.size == (64, 64)
