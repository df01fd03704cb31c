import sys
from pathlib import Path

import pytest

from models.postcard import train
from models.postcard.parts import StableDiffusionXLPipeline


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Trains a toy under the folder it gives, with no signal handlers left behind."""
    monkeypatch.setattr("models.postcard.train.signal.signal", lambda *_: None)
    monkeypatch.setattr("models.postcard.train.tempfile.gettempdir", lambda: str(tmp_path))
    return tmp_path / "postcard-toy"


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--toy", "--device", "cpu", *arguments])
    train.main()


def test_one_command_trains_and_exports_a_pipeline(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call(monkeypatch)
    assert sorted(path.name for path in (toy / "samples").iterdir()) == [
        "loss.png",
        "reconstructions.png",
        "samples.png",
    ]
    pipeline = StableDiffusionXLPipeline.from_pretrained(toy / "weights")
    assert pipeline.unet.config.sample_size == 32
    assert (toy / "weights" / "preview_vae" / "config.json").exists()


def test_a_slice_that_ends_early_exports_nothing(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call(monkeypatch, "--minutes", "0")
    assert "call again" in capsys.readouterr().out
    assert not (toy / "weights").exists()
