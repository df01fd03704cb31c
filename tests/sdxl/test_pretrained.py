"""Models in all the layouts in which they are found, each loaded as `--model` loads it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from scheduler.engine import LoadError
from scheduler.messages import WorkerConfig
from scheduler.sdxl.pretrained import Reader
from scheduler.sdxl.weights import load_model
from tests.models import save_tiny_sdxl
from tests.sdxl.layouts import PARTS, factors, save_weights

CPU = torch.device("cpu")
FROM_VARIANT, PLAIN = 2.0, 1.0
SMALL_SHARDS = "10KB"


@pytest.fixture
def folder(tiny_sdxl: Path, tmp_path: Path) -> Path:
    """A model without weights, but for those of its preview decoder."""
    folder = Path(shutil.copytree(tiny_sdxl, tmp_path / "model"))
    for part in PARTS:
        for file in (folder / part).glob("*.safetensors"):
            file.unlink()
    return folder


def load_pipe(model: Path, dtype: str = "bfloat16") -> Any:
    return load_model(WorkerConfig(model=str(model), device="cpu", dtype=dtype), lambda _: None).pipe  # type: ignore[arg-type]


def refusal(model: Path) -> str:
    with pytest.raises(LoadError) as caught:
        load_pipe(model)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("shard_size", ["10GB", SMALL_SHARDS])
@pytest.mark.parametrize("variant", [None, "fp16"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_one_set_of_weights_serves_any_dtype(
    tiny_sdxl: Path, folder: Path, variant: str | None, shard_size: str, dtype: str
) -> None:
    save_weights(tiny_sdxl, folder, variant=variant, shard_size=shard_size)
    assert (len(list((folder / "unet").glob("*.safetensors"))) > 1) == (shard_size == SMALL_SHARDS)
    pipe = load_pipe(folder, dtype)
    assert factors(pipe, tiny_sdxl) == dict.fromkeys(PARTS, 1.0)
    assert {getattr(pipe, part).dtype for part in PARTS} == {getattr(torch, dtype)}


@pytest.mark.parametrize("shards_of", [None, "fp16", "both", "plain"])
def test_a_model_in_half_precision_takes_the_smaller_files(
    tiny_sdxl: Path, folder: Path, shards_of: str | None
) -> None:
    plain, half = (SMALL_SHARDS if shards_of in (each, "both") else "10GB" for each in ("plain", "fp16"))
    save_weights(tiny_sdxl, folder, shard_size=plain)
    save_weights(tiny_sdxl, folder, variant="fp16", factor=FROM_VARIANT, shard_size=half)
    assert factors(load_pipe(folder, "bfloat16"), tiny_sdxl) == dict.fromkeys(PARTS, FROM_VARIANT)
    assert factors(load_pipe(folder, "float32"), tiny_sdxl) == dict.fromkeys(PARTS, PLAIN)


def test_a_model_of_which_some_parts_have_the_variant(tiny_sdxl: Path, folder: Path) -> None:
    save_weights(tiny_sdxl, folder, parts=("unet", "text_encoder"), variant="fp16", factor=FROM_VARIANT)
    save_weights(tiny_sdxl, folder, parts=("unet", "text_encoder_2", "vae"))
    taken = {"text_encoder": FROM_VARIANT, "text_encoder_2": PLAIN, "vae": PLAIN}
    assert factors(load_pipe(folder, "bfloat16"), tiny_sdxl) == taken | {"unet": FROM_VARIANT}
    assert factors(load_pipe(folder, "float32"), tiny_sdxl) == taken | {"unet": PLAIN}


@pytest.mark.filterwarnings("ignore:This serialization format is now deprecated:FutureWarning")
def test_shards_with_the_variant_at_the_end_of_their_names(tiny_sdxl: Path, folder: Path) -> None:
    save_weights(tiny_sdxl, folder, parts=("text_encoder", "text_encoder_2", "vae"))
    save_weights(tiny_sdxl, folder, parts=("unet",), variant="fp16", shard_size=SMALL_SHARDS, factor=FROM_VARIANT)
    index = folder / "unet" / "diffusion_pytorch_model.safetensors.index.fp16.json"
    text = index.read_text()
    for shard in list((folder / "unet").glob("*.safetensors")):
        number = shard.name.split("fp16-")[1].removesuffix(".safetensors")
        older_name = f"diffusion_pytorch_model-{number}.fp16.safetensors"
        text = text.replace(shard.name, older_name)
        shard.rename(shard.with_name(older_name))
    index.unlink()
    index.with_name("diffusion_pytorch_model.safetensors.fp16.index.json").write_text(text)
    assert factors(load_pipe(folder), tiny_sdxl)["unet"] == FROM_VARIANT


def test_files_beside_the_weights_are_left_alone(tiny_sdxl: Path, folder: Path) -> None:
    save_weights(tiny_sdxl, folder)
    shutil.copytree(folder / "vae", folder / "vae_1_0")
    for name in ("model.onnx", "diffusion_pytorch_model.non_ema.safetensors", "openvino_model.bin", "LICENSE"):
        (folder / "unet" / name).write_bytes(b"nothing that can be read")
    (folder / "text_encoder" / "flax_model.msgpack").write_bytes(b"nothing that can be read")
    (folder / "sd_xl_base_1.0.safetensors").write_bytes(b"nothing that can be read")
    assert factors(load_pipe(folder), tiny_sdxl) == dict.fromkeys(PARTS, PLAIN)


def test_each_part_is_told_with_what_there_is_to_read(tiny_sdxl: Path, folder: Path) -> None:
    save_weights(tiny_sdxl, folder, shard_size=SMALL_SHARDS)
    first_shard, *_ = sorted((folder / "unet").glob("*.safetensors"))
    with first_shard.open("ab") as file:
        file.truncate(23_020_000)  # which makes it unreadable
    told: list[str] = []
    with pytest.raises(LoadError):
        Reader(torch.bfloat16, CPU, told.append).read_pipeline(str(folder), "--model")
    assert told == [
        "loading the first text encoder (0.0 MB), 1 of 5",
        "loading the second text encoder (0.0 MB), 2 of 5",
        "loading the UNet (23.2 MB), 3 of 5",
    ]


@pytest.mark.parametrize("part", ["unet", "text_encoder_2"])
@pytest.mark.parametrize("damage", ["cut", "empty", "missing"])
def test_a_broken_shard(tiny_sdxl: Path, folder: Path, part: str, damage: str) -> None:
    save_weights(tiny_sdxl, folder, variant="fp16", shard_size=SMALL_SHARDS)
    shard = sorted((folder / part).glob("*.safetensors"))[1]
    contents = shard.read_bytes()
    shard.unlink()
    if damage != "missing":
        shard.write_bytes(contents[: len(contents) // 2] if damage == "cut" else b"")
    line = refusal(folder)
    assert line.startswith(f"{folder} cannot be loaded; is it complete, and in safetensors? (")
    assert damage != "missing" or shard.name in line


@pytest.mark.parametrize("part", ["unet", "text_encoder_2"])
def test_a_shard_that_lacks_a_weight(tiny_sdxl: Path, folder: Path, part: str) -> None:
    save_weights(tiny_sdxl, folder, shard_size=SMALL_SHARDS)
    shard = sorted((folder / part).glob("*.safetensors"))[1]
    weights = load_file(shard)
    lost = min(weights)
    del weights[lost]
    save_file(weights, shard, metadata={"format": "pt"})
    assert refusal(folder) == f"{folder} is incomplete: its weights have no {part}.{lost}; get the model again"


def test_shards_without_their_index(tiny_sdxl: Path, folder: Path) -> None:
    save_weights(tiny_sdxl, folder, shard_size=SMALL_SHARDS)
    (folder / "unet" / "diffusion_pytorch_model.safetensors.index.json").unlink()
    assert "is it complete, and in safetensors?" in refusal(folder)


def test_a_part_that_is_missing(tiny_sdxl: Path, folder: Path) -> None:
    save_weights(tiny_sdxl, folder)
    shutil.rmtree(folder / "text_encoder_2")
    assert "is it complete, and in safetensors? (FileNotFoundError: " in refusal(folder)


def test_a_unet_of_fewer_blocks(tmp_path: Path) -> None:
    """As distilled models have: without the block in the middle."""
    folder = save_tiny_sdxl(tmp_path / "model")
    config = json.loads((folder / "unet" / "config.json").read_text())
    (folder / "unet" / "config.json").write_text(json.dumps(config | {"mid_block_type": None}))
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: weight for name, weight in load_file(file).items() if not name.startswith("mid_block")}, file)
    assert load_pipe(folder).unet.mid_block is None
