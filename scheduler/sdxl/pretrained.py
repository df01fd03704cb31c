"""Read what diffusers saved, from a folder or the Hugging Face hub: safetensors only, each fault told in one line."""

import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from scheduler.engine import LoadError, describe

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")

# What reading a folder or the hub can raise; the errors of the hub and of the network are OSErrors.
FAULTS = (OSError, ValueError, RuntimeError, TypeError, KeyError, AttributeError, SafetensorError)


def from_pretrained(kind: Any, source: str, dtype: torch.dtype, flag: str, subfolder: str | None = None) -> Any:
    """An instance of the diffusers class `kind` from a folder or hub id, which came in by the command's `flag`."""
    _check_source(source, flag)
    options = {"subfolder": subfolder} if subfolder else {}
    try:
        config = kind.load_config(source, **options)
    except FAULTS as error:
        raise LoadError(_no_config(source, flag, kind.config_name)) from error
    if config.get("_class_name") != kind.__name__:
        raise LoadError(f"{source} holds a {config.get('_class_name')}: {flag} takes a diffusers {kind.__name__}")
    try:
        return kind.from_pretrained(source, dtype=dtype, use_safetensors=True, **options)
    except FAULTS as error:
        where = f"{source}/{subfolder}" if subfolder else source
        raise LoadError(f"{where} cannot be loaded; is it complete, and in safetensors? ({describe(error)})") from error


def _check_source(source: str, flag: str) -> None:
    """A source is a folder that is there, or what may be a hub id."""
    if Path(source).is_file():
        raise LoadError(f"{source} is a file: {flag} takes a diffusers folder or a hub id")
    if not Path(source).is_dir() and not HUB_ID.fullmatch(source):
        raise LoadError(f"there is no folder {source}: {flag} takes a diffusers folder or a hub id such as owner/name")


def _no_config(source: str, flag: str, file: str) -> str:
    if Path(source).is_dir():
        return f"{source} has no readable {file}: {flag} takes a folder in diffusers layout"
    return f"{source} is no folder here, and the Hugging Face hub does not give it: check {flag} and the network"
