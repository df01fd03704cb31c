"""Low-rank weights (LoRA, https://arxiv.org/abs/2106.09685), made part of a model's own weights at start."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from scheduler.engine import LoadError, describe
from scheduler.messages import Lora
from scheduler.sdxl.pretrained import FAULTS, HUB_ID
from scheduler.sdxl.untyped import Pipeline


def fuse_loras(pipe: Pipeline, loras: Sequence[Lora]) -> None:
    """Adds them one after the other, in the pipeline's dtype. Raises `LoadError`."""
    if loras and find_spec("peft") is None:
        raise LoadError("--lora needs the package peft: pip install 'latentcast[lora]'")
    for lora in loras:
        _load(pipe, lora)
        pipe.fuse_lora(lora_scale=lora.scale)
        pipe.unload_lora_weights()


def _load(pipe: Pipeline, lora: Lora) -> None:
    may_be_hub_id = HUB_ID.fullmatch(lora.path) and not lora.path.endswith(".safetensors")
    if not Path(lora.path).exists() and not may_be_hub_id:
        raise LoadError(f"there is no {lora.path}: --lora takes a safetensors file, a folder with one, or a hub id")
    try:
        pipe.load_lora_weights(lora.path, use_safetensors=True)
    except (*FAULTS, IndexError) as error:  # the last for a folder without one
        raise LoadError(f"--lora {lora.path} cannot be loaded into this model: {describe(error)}") from error
    if not pipe.get_list_adapters():
        raise LoadError(f"--lora {lora.path} has no weights for this model: it takes low-rank weights for SDXL")
