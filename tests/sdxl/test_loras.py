"""LoRAs: fused at start, the pictures are those of the pipeline with the same ones loaded beside its weights."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from scheduler.engine import LoadError
from scheduler.messages import Lora
from scheduler.sdxl.loras import fuse_loras
from tests.models import diffusers, save_lora
from tests.sdxl.conftest import LoadEngine
from tests.sdxl.drive import Driver, make_request
from tests.sdxl.oracle import Oracle, assert_all_own, distinct


@pytest.fixture(scope="module")
def lora(tiny_sdxl: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For the UNet and both text encoders."""
    return save_lora(tmp_path_factory.mktemp("lora"), tiny_sdxl)


@pytest.fixture(scope="module")
def unet_lora(tiny_sdxl: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_lora(tmp_path_factory.mktemp("unet-lora"), tiny_sdxl, seed=4, parts=["unet"])


@pytest.fixture
def pipe(tiny_sdxl: Path) -> Any:
    return diffusers.StableDiffusionXLPipeline.from_pretrained(tiny_sdxl)


def refusal(pipe: Any, path: Path | str) -> str:
    with pytest.raises(LoadError) as caught:
        fuse_loras(pipe, [Lora(str(path))])
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("scales", [[1.0], [0.5], [0.0], [0.7, -0.4]])
def test_pictures_equal_those_of_the_loaded_lora(
    scales: list[float],
    batching: str,
    tiny_sdxl: Path,
    lora: Path,
    unet_lora: Path,
    load_engine: LoadEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loras = tuple(Lora(str(path), scale) for path, scale in zip([lora, unet_lora], scales, strict=False))
    requests = [make_request("a", seed=1), make_request("b", seed=2, guidance_scale=0.0)]
    driver = Driver(load_engine(tiny_sdxl, batching=batching, loras=loras), monkeypatch)
    driver.run({0: requests})
    assert_all_own(driver, [requests], Oracle(tiny_sdxl, loras=loras))


def test_a_lora_changes_the_picture(tiny_sdxl: Path, tiny_oracle: Oracle, lora: Path, unet_lora: Path) -> None:
    oracles = [tiny_oracle, *(Oracle(tiny_sdxl, loras=[Lora(str(path))]) for path in (lora, unet_lora))]
    assert distinct([oracle.run(make_request().params).image for oracle in oracles])


def test_nothing_of_it_stays_beside_the_weights(pipe: Any, lora: Path) -> None:
    names = {name for name, _ in pipe.unet.named_modules()}
    before = pipe.text_encoder.state_dict()["encoder.layers.0.self_attn.q_proj.weight"].clone()
    fuse_loras(pipe, [Lora(str(lora))])
    assert {name for name, _ in pipe.unet.named_modules()} == names
    assert pipe.get_list_adapters() == {}
    assert not torch.equal(pipe.text_encoder.state_dict()["encoder.layers.0.self_attn.q_proj.weight"], before)


def test_a_folder_will_do(pipe: Any, lora: Path) -> None:
    before = pipe.unet.state_dict()["mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"].clone()
    fuse_loras(pipe, [Lora(str(lora.parent))])
    after = pipe.unet.state_dict()["mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"]
    assert not torch.equal(after, before)


@pytest.mark.parametrize("path", ["/no/such/folder", "no/such.safetensors"])
def test_no_such_file(pipe: Any, path: str) -> None:
    assert refusal(pipe, path).startswith(f"there is no {path}: --lora takes a safetensors file, ")


def test_no_such_hub_id(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert refusal(pipe, "nobody/nothing").startswith("--lora nobody/nothing cannot be loaded into this model: ")


def test_a_broken_file(pipe: Any, tmp_path: Path) -> None:
    (tmp_path / "lora.safetensors").write_bytes(b"x" * 100)
    assert "lora.safetensors cannot be loaded into this model: " in refusal(pipe, tmp_path / "lora.safetensors")


def test_a_folder_without_one(pipe: Any, tmp_path: Path) -> None:
    assert f"{tmp_path} cannot be loaded into this model: " in refusal(pipe, tmp_path)


def test_weights_that_could_run_code_are_not_read(pipe: Any, tmp_path: Path) -> None:
    torch.save({}, tmp_path / "pytorch_lora_weights.bin")
    assert "cannot be loaded into this model: " in refusal(pipe, tmp_path)


def test_weights_that_are_no_lora(pipe: Any, tiny_sdxl: Path) -> None:
    assert "cannot be loaded into this model: " in refusal(
        pipe, tiny_sdxl / "unet" / "diffusion_pytorch_model.safetensors"
    )


@pytest.mark.parametrize("name", ["transformer.blocks.0.to_q", "unet.nowhere.to_q"])
def test_a_lora_for_another_kind_of_model(pipe: Any, name: str, tmp_path: Path) -> None:
    weights = {f"{name}.lora_A.weight": torch.ones(2, 8), f"{name}.lora_B.weight": torch.ones(8, 2)}
    save_file(weights, tmp_path / "lora.safetensors")
    assert "this model" in refusal(pipe, tmp_path / "lora.safetensors")


def test_a_lora_for_a_model_of_another_width(pipe: Any, tmp_path: Path) -> None:
    name = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    weights = {f"{name}.lora_A.weight": torch.ones(2, 99), f"{name}.lora_B.weight": torch.ones(99, 2)}
    save_file(weights, tmp_path / "lora.safetensors")
    assert "cannot be loaded into this model: " in refusal(pipe, tmp_path / "lora.safetensors")


def test_without_peft_it_tells_what_to_install(pipe: Any, lora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    assert refusal(pipe, lora) == "--lora needs the package peft: pip install 'latentcast[lora]'"
    fuse_loras(pipe, [])  # none of it is needed where none is asked for
