"""Which of a model's files to read: folders in diffusers layout hold more than one set of weights, and much else."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

HALF_VARIANT = "fp16"

# One file or shards; the variant stands before the number of the shard, or behind it as in older versions of diffusers.
WEIGHTS = re.compile(r"(diffusion_pytorch_)?model(-\d+-of-\d+)?(\.(?P<variant>\w+))?(-\d+-of-\d+)?\.safetensors")
SETTINGS = (".json", ".txt")  # configurations, indices of shards, vocabularies


def choose_variant(names: Iterable[str], dtype: torch.dtype) -> str | None:
    """The variant among the files of one folder to read in that dtype; None for the plain weights.

    Half the bytes serve a half-precision model as well; either will do where there is no other.
    """
    there = {_variant(name) for name in names if WEIGHTS.fullmatch(name)}
    is_half = dtype.itemsize == 2
    return HALF_VARIANT if HALF_VARIANT in there and (is_half or None not in there) else None


def files_to_fetch(sizes: Mapping[str, int], folders: Iterable[str], dtype: torch.dtype) -> dict[str, int]:
    """Of a repository's files those that are read, "" for the uppermost folder; with their sizes in bytes."""
    return {name: sizes[name] for folder in folders for name in _of_folder(sizes, folder, dtype)}


def weight_bytes(folder: Path, dtype: torch.dtype) -> int:
    """How much there is to read."""
    files = {file.name: file for file in folder.iterdir()}
    variant = choose_variant(files, dtype)
    return sum(file.stat().st_size for name, file in files.items() if _is_weights(name, variant))


def _of_folder(paths: Iterable[str], folder: str, dtype: torch.dtype) -> list[str]:
    names = {name: path for path in paths for parent, _, name in [path.rpartition("/")] if parent == folder}
    variant = choose_variant(names, dtype)
    return [path for name, path in names.items() if name.endswith(SETTINGS) or _is_weights(name, variant)]


def _is_weights(name: str, variant: str | None) -> bool:
    return WEIGHTS.fullmatch(name) is not None and _variant(name) == variant


def _variant(name: str) -> str | None:
    match = WEIGHTS.fullmatch(name)
    return match["variant"] if match else None
