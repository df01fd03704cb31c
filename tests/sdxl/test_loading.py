"""What is told of a loaded model, and one clear line for each way a start can fail."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from scheduler.engine import LoadError
from scheduler.messages import WorkerConfig
from scheduler.request import SAMPLERS
from scheduler.sdxl import load, loading
from scheduler.sdxl.prototypes import KINDS
from scheduler.sdxl.untyped import NoiseSampler
from scheduler.sdxl.weights import load_model
from tests.models import save_tiny_sdxl, save_tiny_vae, save_vae


def refusal(model: Path | str, **config: object) -> str:
    """The line with which a start is refused."""
    fields = {"model": str(model), "device": "cpu", "dtype": "float32", "calibration": "skip"} | config
    with pytest.raises(LoadError) as caught:
        load(WorkerConfig(**fields), progress=lambda _: None)  # type: ignore[arg-type]
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.fixture
def folder(tiny_sdxl: Path, tmp_path: Path) -> Path:
    """A model to break."""
    return Path(shutil.copytree(tiny_sdxl, tmp_path / "model"))


@pytest.mark.parametrize("batching", ["step", "call"])
def test_a_loaded_engine_tells_what_requests_it_takes(tiny_sdxl: Path, batching: str) -> None:
    told: list[str] = []
    fields = {"model": str(tiny_sdxl), "device": "cpu", "dtype": "float32", "batching": batching, "max_rows": 12}
    info = load(WorkerConfig(**fields, calibration="skip"), told.append).info  # type: ignore[arg-type]
    assert (info.name, info.device, info.dtype, info.batching) == ("tiny-sdxl", "cpu", "float32", batching)
    assert (info.default_width, info.default_height, info.min_size, info.max_size) == (64, 64, 64, 128)
    assert (info.size_multiple, info.max_rows) == (8, 12)
    assert (info.sampler, info.samplers, info.guidance_rows) == ("euler", SAMPLERS, 2)
    assert told == [
        f"loading the model {tiny_sdxl}",
        "loading the first text encoder (0.0 MB), 1 of 5",
        "loading the second text encoder (0.0 MB), 2 of 5",
        "loading the UNet (0.3 MB), 3 of 5",
        "loading the VAE (0.1 MB), 4 of 5",
        "loading the preview decoder (0.1 MB), 5 of 5",
        "warming up",
    ]


def test_a_model_with_a_sampler_of_its_own_and_guidance_for_one_row(tmp_path: Path) -> None:
    folder = save_tiny_sdxl(
        tmp_path, sampler="DPMSolverMultistepScheduler", algorithm_type="sde-dpmsolver++", time_cond_proj_dim=8
    )
    config = WorkerConfig(model=str(folder), device="cpu", dtype="float32")
    info = load_model(config, lambda _: None).info(config)
    assert (info.sampler, info.guidance_rows) == (None, 1)


def test_the_usual_runs_are_known_before_the_first_request(tiny_sdxl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    surveyed: set[tuple[str, int]] = set()

    def survey(prototype: NoiseSampler, num_steps: int) -> None:
        surveyed.add((type(prototype).__name__, num_steps))
        if num_steps == 4:
            raise ValueError("not with this noise sampler")

    monkeypatch.setattr(loading, "survey", survey)
    load(WorkerConfig(model=str(tiny_sdxl), device="cpu", calibration="skip"), lambda _: None)
    assert surveyed == {(kind.class_name, num_steps) for kind in KINDS.values() for num_steps in (4, 8, 20, 30, 50)}


def test_threads_are_set(tiny_sdxl: Path) -> None:
    before = torch.get_num_threads()
    load_model(WorkerConfig(model=str(tiny_sdxl), device="cpu", dtype="float32", threads=1), lambda _: None)
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)


def test_a_vae_that_overflows_stays_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.sdxl.weights.choose_dtype", lambda _wanted, _device: torch.float16)
    config = WorkerConfig(model=str(save_tiny_sdxl(tmp_path, vae={"force_upcast": True})), device="cpu")
    pipe = load_model(config, progress=lambda _: None).pipe
    assert (pipe.vae.dtype, pipe.unet.dtype) == (torch.float32, torch.float16)


def test_a_model_that_cannot_run(tiny_sdxl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out_of_memory(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("tried to allocate 20 GiB")

    monkeypatch.setattr("diffusers.AutoencoderKL.decode", run_out_of_memory)
    line = refusal(tiny_sdxl)
    assert f"{tiny_sdxl} cannot run here, try another --device or --dtype: the server's memory does not hold" in line


def test_a_model_that_runs_into_a_fault(tiny_sdxl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel for this card")

    monkeypatch.setattr("diffusers.AutoencoderTiny.decode", fail)
    assert refusal(tiny_sdxl).endswith("try another --device or --dtype: RuntimeError: no kernel for this card")


def test_no_folder() -> None:
    assert refusal("/no/such/folder").startswith("there is no folder /no/such/folder: --model takes")


def test_what_can_be_no_hub_id_is_not_looked_for_on_the_hub() -> None:
    told: list[str] = []
    with pytest.raises(LoadError):
        load_model(WorkerConfig(model="/no/such/folder", device="cpu", dtype="float32"), told.append)
    assert told == ["loading the model /no/such/folder"]


def test_no_such_hub_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert refusal("nobody/nothing").startswith("nobody/nothing is no folder here, and the Hugging Face hub does not")


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert "is a file: --model takes a diffusers folder" in refusal(tmp_path / "model.safetensors")


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    assert "has no readable model_index.json: --model takes" in refusal(tmp_path)


def test_an_unreadable_index(folder: Path) -> None:
    (folder / "model_index.json").write_text("{")
    assert "has no readable model_index.json" in refusal(folder)


def test_another_kind_of_model(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "FluxPipeline"}))
    assert "holds a FluxPipeline: --model takes a diffusers StableDiffusionXLPipeline" in refusal(folder)


@pytest.mark.parametrize("part", ["unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"])
@pytest.mark.parametrize("damage", ["cut", "empty", "missing", "nonsense"])
def test_broken_weights(folder: Path, part: str, damage: str) -> None:
    weights = folder / f"{part}.safetensors"
    contents = weights.read_bytes()
    weights.unlink()
    if damage != "missing":
        weights.write_bytes({"cut": contents[: len(contents) // 2], "empty": b"", "nonsense": b"x" * 1000}[damage])
    assert f"{folder} cannot be loaded; is it complete, and in safetensors?" in refusal(folder)


def test_missing_weights(folder: Path) -> None:
    file = next((folder / "unet").glob("*.safetensors"))
    weights = load_file(file)
    del weights["conv_in.bias"]
    save_file(weights, file)
    assert refusal(folder) == f"{folder} is incomplete: its weights have no unet.conv_in.bias; get the model again"


@pytest.mark.parametrize("part", ["text_encoder", "text_encoder_2"])
def test_missing_weights_of_a_text_encoder(folder: Path, part: str) -> None:
    file = folder / part / "model.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if name.endswith("layers.1.mlp.fc1.bias"))
    del weights[name]
    save_file(weights, file, metadata={"format": "pt"})
    assert refusal(folder) == f"{folder} is incomplete: its weights have no {part}.{name}; get the model again"


def test_weights_that_could_run_code_are_not_read(folder: Path) -> None:
    torch.save({}, folder / "unet" / "diffusion_pytorch_model.bin")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    assert "in safetensors?" in refusal(folder)


def test_a_noise_sampler_that_cannot_be_used(tmp_path: Path) -> None:
    folder = save_tiny_sdxl(tmp_path, sampler="HeunDiscreteScheduler")
    assert refusal(folder) == (
        f"{folder} cannot be used: its noise sampler HeunDiscreteScheduler is not known here; "
        "choose another with --sampler: euler, euler_a, dpmpp_2m, ddim, unipc, lcm"
    )


def test_no_preview_model(tmp_path: Path) -> None:
    folder = save_tiny_sdxl(tmp_path, with_preview_vae=False)
    assert "has no preview decoder: give one with --preview-model" in refusal(folder)


def test_the_preview_model_asked_for_is_taken(tiny_sdxl: Path, tmp_path: Path) -> None:
    assert "there is no folder /no/vae: --preview-model takes" in refusal(tiny_sdxl, preview_model="/no/vae")
    assert "has no readable config.json: --preview-model takes" in refusal(tiny_sdxl, preview_model=str(tmp_path))
    assert "holds a AutoencoderKL" in refusal(tiny_sdxl, preview_model=str(tiny_sdxl / "vae"))


def test_the_vae_asked_for_is_taken(tiny_sdxl: Path, tmp_path: Path) -> None:
    assert "there is no folder /no/vae: --vae takes" in refusal(tiny_sdxl, vae="/no/vae")
    assert "has no readable config.json: --vae takes" in refusal(tiny_sdxl, vae=str(tmp_path))
    assert "holds a AutoencoderTiny: --vae takes a diffusers AutoencoderKL" in refusal(
        tiny_sdxl, vae=str(tiny_sdxl / "preview_vae")
    )


def test_a_vae_for_other_latents(tiny_sdxl: Path, tmp_path: Path) -> None:
    of_16_channels = save_vae(tmp_path / "channels", latent_channels=16, latents_mean=None, latents_std=None)
    line = refusal(tiny_sdxl, vae=str(of_16_channels))
    assert f"the VAE {of_16_channels} does not fit {tiny_sdxl}: it reads latents of 16 channels, the model's" in line
    of_half_size = save_vae(tmp_path / "size", num_blocks=3)
    assert "it enlarges latents 4 times, the model's VAE 8 times; change --vae" in refusal(
        tiny_sdxl, vae=str(of_half_size)
    )


def test_missing_weights_of_the_vae_asked_for(tiny_sdxl: Path, tmp_path: Path) -> None:
    vae = save_vae(tmp_path)
    weights = load_file(vae / "diffusion_pytorch_model.safetensors")
    del weights["decoder.conv_in.bias"]
    save_file(weights, vae / "diffusion_pytorch_model.safetensors")
    assert refusal(tiny_sdxl, vae=str(vae)) == (
        f"{vae} is incomplete: its weights have no decoder.conv_in.bias; get the model again"
    )


def test_a_broken_preview_model(folder: Path) -> None:
    (folder / "preview_vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"x" * 1000)
    assert f"{folder}/preview_vae cannot be loaded" in refusal(folder)


def test_a_preview_model_for_other_latents(tiny_sdxl: Path, tmp_path: Path) -> None:
    of_16_channels = save_tiny_vae(tmp_path / "channels", latent_channels=16)
    assert "it reads latents of 16 channels, the model's have 4" in refusal(
        tiny_sdxl, preview_model=str(of_16_channels)
    )
    of_half_size = save_tiny_vae(tmp_path / "size", num_blocks=3)
    assert "it enlarges latents 4 times, the model's VAE 8 times" in refusal(tiny_sdxl, preview_model=str(of_half_size))
