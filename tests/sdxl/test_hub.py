"""Models by hub id: which files are downloaded, and what becomes of it without a network."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from scheduler.engine import LoadError
from scheduler.messages import WorkerConfig
from scheduler.sdxl.hub import in_words
from scheduler.sdxl.pretrained import Reader
from scheduler.sdxl.weights import load_model
from tests.models import save_vae
from tests.sdxl.hub_server import Hub
from tests.sdxl.layouts import PARTS, factors, save_weights

NAME = "owner/sdxl"
NEVER_READ = ("unet/model.onnx", "vae_1_0/diffusion_pytorch_model.safetensors", "sd_xl_base.safetensors", "README.md")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub(tmp_path / "hub")
    with hub.running():
        files = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", files)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        yield hub


@pytest.fixture
def repository(hub: Hub, tiny_sdxl: Path) -> Path:
    """With plain weights and their halves, and with files that nobody reads."""
    folder = Path(shutil.copytree(tiny_sdxl, hub.root / NAME))
    save_weights(tiny_sdxl, folder, variant="fp16", factor=2.0)
    for name in NEVER_READ:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"nothing that can be read")
    return folder


def config(tiny_sdxl: Path, dtype: str = "bfloat16", model: str = NAME) -> WorkerConfig:
    preview_model = str(tiny_sdxl / "preview_vae")
    return WorkerConfig(model=model, preview_model=preview_model, device="cpu", dtype=dtype)  # type: ignore[arg-type]


def weights(files: set[str]) -> set[str]:
    return {file for file in files if file.endswith(".safetensors")}


@pytest.mark.parametrize(("dtype", "factor"), [("bfloat16", 2.0), ("float32", 1.0)])
@pytest.mark.usefixtures("repository")
def test_only_what_is_read_is_downloaded(hub: Hub, tiny_sdxl: Path, dtype: str, factor: float) -> None:
    pipe = load_model(config(tiny_sdxl, dtype), lambda _: None).pipe
    assert factors(pipe, tiny_sdxl) == dict.fromkeys(PARTS, factor)
    variant = ".fp16" if dtype == "bfloat16" else ""
    assert weights(hub.given) == {
        f"text_encoder/model{variant}.safetensors",
        f"text_encoder_2/model{variant}.safetensors",
        f"unet/diffusion_pytorch_model{variant}.safetensors",
        f"vae/diffusion_pytorch_model{variant}.safetensors",
    }
    assert not hub.given & set(NEVER_READ)
    assert {"model_index.json", "unet/config.json", "scheduler/scheduler_config.json"} <= hub.given


def test_what_is_lacking_in_halves_is_downloaded_whole(hub: Hub, repository: Path, tiny_sdxl: Path) -> None:
    (repository / "vae" / "diffusion_pytorch_model.fp16.safetensors").unlink()
    pipe = load_model(config(tiny_sdxl), lambda _: None).pipe
    assert factors(pipe, tiny_sdxl)["vae"] == 1.0
    assert "vae/diffusion_pytorch_model.safetensors" in hub.given
    assert "unet/diffusion_pytorch_model.safetensors" not in hub.given


@pytest.mark.usefixtures("repository")
def test_a_model_is_downloaded_once_and_needs_no_network_after_it(
    hub: Hub, tiny_sdxl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    load_model(config(tiny_sdxl), told.append)
    assert re.fullmatch(rf"getting [0-9]+ files of {NAME} \(0\.[0-9] MB\)", told[1])
    hub.given.clear()
    told.clear()
    load_model(config(tiny_sdxl), told.append)
    assert hub.given == set()
    assert told[1].startswith("loading the first text encoder")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    pipe = load_model(config(tiny_sdxl), lambda _: None).pipe
    assert factors(pipe, tiny_sdxl) == dict.fromkeys(PARTS, 2.0)


def test_a_vae_by_itself(hub: Hub) -> None:
    folder = save_vae(hub.root / "owner" / "vae")
    (folder / "sdxl_vae.safetensors").write_bytes(b"nothing that can be read")
    vae = Reader(torch.float32, torch.device("cpu"), lambda _: None).read_part("vae", "owner/vae", "--vae")
    assert vae.config.latent_channels == 4
    assert hub.given == {"config.json", "diffusion_pytorch_model.safetensors"}


@pytest.mark.usefixtures("hub")
def test_a_repository_that_is_not_there(tiny_sdxl: Path) -> None:
    with pytest.raises(LoadError, match="no folder here, and the Hugging Face hub does not give it: check --model"):
        load_model(config(tiny_sdxl, model="nobody/nothing"), lambda _: None)


def test_sizes_in_words() -> None:
    assert (in_words(6_938_000_000), in_words(335_000_000)) == ("6.9 GB", "335.0 MB")
