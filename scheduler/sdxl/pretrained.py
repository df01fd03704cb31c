"""Read what diffusers saved, from a folder or the Hugging Face hub: safetensors only, each fault told in one line."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors import SafetensorError
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from scheduler.engine import LoadError, describe
from scheduler.sdxl import hub
from scheduler.sdxl.layout import choose_variant, weight_bytes
from scheduler.sdxl.untyped import Pipeline

_read_rest: Any = StableDiffusionXLPipeline.from_pretrained  # untyped; it reads what is not given

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")

# What reading a folder can raise, besides the hub's faults.
FAULTS = (*hub.FAULTS, RuntimeError, TypeError, KeyError, AttributeError, ImportError, SafetensorError)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a model that has weights: diffusers' or transformers' class of it, and what people call it."""

    kind: Any
    title: str


PARTS = {
    "text_encoder": Part(CLIPTextModel, "the first text encoder"),
    "text_encoder_2": Part(CLIPTextModelWithProjection, "the second text encoder"),
    "unet": Part(UNet2DConditionModel, "the UNet"),
    "vae": Part(AutoencoderKL, "the VAE"),
    "preview_vae": Part(AutoencoderTiny, "the preview decoder"),
}
"""All that is loaded, in this order."""

PIPELINE_PARTS = [name for name in PARTS if name != "preview_vae"]
WITHOUT_WEIGHTS = ("scheduler", "tokenizer", "tokenizer_2")


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads models in one dtype, straight to one device: tensor by tensor, so that no second copy is in memory.

    Its methods take a folder or hub id, which came in by the command's `flag`, and raise `LoadError`.
    """

    dtype: torch.dtype
    device: torch.device
    progress: Callable[[str], None]

    def read_pipeline(self, source: str, flag: str) -> Pipeline:
        """A pipeline all of whose weights come from files."""
        folder = self._locate(source, flag, ["", *PIPELINE_PARTS, *WITHOUT_WEIGHTS])
        _check_kind(StableDiffusionXLPipeline, folder, source, flag)
        parts = {name: self._read(name, folder / name, source) for name in PIPELINE_PARTS}
        try:
            return _read_rest(folder, **parts)
        except FAULTS as error:
            raise _unreadable(source, error) from error

    def read_part(self, name: str, source: str, flag: str, subfolder: str | None = None) -> Any:
        """One of `PARTS` that comes by itself."""
        folder = self._locate(source, flag, [subfolder or ""]) / (subfolder or "")
        where = f"{source}/{subfolder}" if subfolder else source
        _check_kind(PARTS[name].kind, folder, where, flag)
        return self._read(name, folder, where)

    def _locate(self, source: str, flag: str, folders: list[str]) -> Path:
        """A source is a folder that is there, or what may be a hub id."""
        if Path(source).is_file():
            raise LoadError(f"{source} is a file: {flag} takes a diffusers folder or a hub id")
        if Path(source).is_dir():
            return Path(source)
        if not HUB_ID.fullmatch(source):
            raise LoadError(
                f"there is no folder {source}: {flag} takes a diffusers folder or a hub id such as owner/name"
            )
        try:
            return hub.fetch(source, folders, self.dtype, self.progress)
        except hub.FAULTS as error:
            raise LoadError(
                f"{source} is no folder here, and the Hugging Face hub does not give it: "
                f"check {flag} and the network ({describe(error.__cause__ or error)})"
            ) from error

    def _read(self, name: str, folder: Path, source: str) -> Any:
        """From a folder of its own."""
        try:
            self._tell(name, folder)
            loaded, missing = self._read_weights(PARTS[name].kind, folder)
        except FAULTS as error:
            raise _unreadable(source, error) from error
        if missing:
            where = "" if folder == Path(source) else f"{name}."
            raise LoadError(f"{source} is incomplete: its weights have no {where}{missing}; get the model again")
        return loaded

    def _tell(self, name: str, folder: Path) -> None:
        size = hub.in_words(weight_bytes(folder, self.dtype))
        self.progress(f"loading {PARTS[name].title} ({size}), {list(PARTS).index(name) + 1} of {len(PARTS)}")

    def _read_weights(self, kind: Any, folder: Path) -> tuple[Any, str | None]:
        """A module, and the first weight that the files did not hold."""
        variant = choose_variant([file.name for file in folder.iterdir()], self.dtype)
        options = {"dtype": self.dtype, "variant": variant, "use_safetensors": True, "output_loading_info": True}
        try:
            loaded, report = kind.from_pretrained(folder, device_map={"": self.device}, **options)
        except NotImplementedError:  # diffusers cannot bring to a device what it has no data of, and does not name it
            loaded, report = kind.from_pretrained(folder, **options)
        without_data = [name for name, weight in loaded.named_parameters() if weight.is_meta]
        return loaded, min([*report["missing_keys"], *without_data], default=None)


def _check_kind(kind: Any, folder: Path, source: str, flag: str) -> None:
    try:
        config = kind.load_config(folder)
    except FAULTS as error:
        raise LoadError(
            f"{source} has no readable {kind.config_name}: {flag} takes a folder in diffusers layout"
        ) from error
    if config.get("_class_name") != kind.__name__:
        raise LoadError(f"{source} holds a {config.get('_class_name')}: {flag} takes a diffusers {kind.__name__}")


def _unreadable(source: str, error: Exception) -> LoadError:
    return LoadError(f"{source} cannot be loaded; is it complete, and in safetensors? ({describe(error)})")
