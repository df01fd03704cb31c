"""Read what diffusers saved, from a folder or the Hugging Face hub: safetensors only, each fault told in one line."""

import re
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline
from safetensors import SafetensorError
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from scheduler.engine import LoadError, describe
from scheduler.sdxl.untyped import Pipeline

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")

# What reading a folder or the hub can raise; the errors of the hub and of the network are OSErrors.
FAULTS = (OSError, ValueError, RuntimeError, TypeError, KeyError, AttributeError, ImportError, SafetensorError)

TEXT_ENCODERS = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}


def from_pretrained(kind: Any, source: str, dtype: torch.dtype, flag: str, subfolder: str | None = None) -> Any:
    """An instance of the diffusers class `kind` from a folder or hub id, which came in by the command's `flag`."""
    _check_source(source, flag)
    _check_kind(kind, source, flag, subfolder)
    return _read(kind, source, dtype, subfolder)


def load_pipeline(source: str, dtype: torch.dtype, flag: str) -> Pipeline:
    """A pipeline all of whose weights come from files."""
    _check_source(source, flag)
    _check_kind(StableDiffusionXLPipeline, source, flag)
    encoders = {name: _read_text_encoder(kind, source, name, dtype) for name, kind in TEXT_ENCODERS.items()}
    return _read(StableDiffusionXLPipeline, source, dtype, **encoders)


def _check_source(source: str, flag: str) -> None:
    """A source is a folder that is there, or what may be a hub id."""
    if Path(source).is_file():
        raise LoadError(f"{source} is a file: {flag} takes a diffusers folder or a hub id")
    if not Path(source).is_dir() and not HUB_ID.fullmatch(source):
        raise LoadError(f"there is no folder {source}: {flag} takes a diffusers folder or a hub id such as owner/name")


def _check_kind(kind: Any, source: str, flag: str, subfolder: str | None = None) -> None:
    try:
        config = kind.load_config(source, **_inside(subfolder))
    except FAULTS as error:
        raise LoadError(_no_config(source, flag, kind.config_name)) from error
    if config.get("_class_name") != kind.__name__:
        raise LoadError(f"{source} holds a {config.get('_class_name')}: {flag} takes a diffusers {kind.__name__}")


def _no_config(source: str, flag: str, file: str) -> str:
    if Path(source).is_dir():
        return f"{source} has no readable {file}: {flag} takes a folder in diffusers layout"
    return f"{source} is no folder here, and the Hugging Face hub does not give it: check {flag} and the network"


def _read(kind: Any, source: str, dtype: torch.dtype, subfolder: str | None = None, **parts: Any) -> Any:
    try:
        loaded = kind.from_pretrained(source, dtype=dtype, use_safetensors=True, **_inside(subfolder), **parts)
    except FAULTS as error:
        raise _unreadable(source, subfolder, error) from error
    if missing := _missing_weight(loaded):
        raise _incomplete(source, missing)
    return loaded


def _read_text_encoder(kind: Any, source: str, name: str, dtype: torch.dtype) -> Any:
    """By itself, because transformers fills weights that are missing with noise, and tells only who asks."""
    options = {"dtype": dtype, "use_safetensors": True, "output_loading_info": True}
    try:
        encoder, report = kind.from_pretrained(source, subfolder=name, **options)
    except FAULTS as error:
        raise _unreadable(source, None, error) from error
    if report["missing_keys"]:
        raise _incomplete(source, f"{name}.{min(report['missing_keys'])}")
    return encoder


def _missing_weight(loaded: Any) -> str | None:
    """The first parameter that the files did not hold: diffusers leaves it without data."""
    for part, module in getattr(loaded, "components", {"": loaded}).items():
        if isinstance(module, torch.nn.Module):
            for name, parameter in module.named_parameters(prefix=part):
                if parameter.is_meta:
                    return name
    return None


def _inside(subfolder: str | None) -> dict[str, str]:
    return {"subfolder": subfolder} if subfolder else {}


def _unreadable(source: str, subfolder: str | None, error: Exception) -> LoadError:
    where = f"{source}/{subfolder}" if subfolder else source
    return LoadError(f"{where} cannot be loaded; is it complete, and in safetensors? ({describe(error)})")


def _incomplete(source: str, missing: str) -> LoadError:
    return LoadError(f"{source} is incomplete: its weights have no {missing}; get the model again")
