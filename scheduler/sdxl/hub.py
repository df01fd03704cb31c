"""Models from the Hugging Face hub: only the files that are read, kept in its own cache."""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from huggingface_hub import snapshot_download, try_to_load_from_cache

from scheduler.sdxl.layout import files_to_fetch

FAULTS = (OSError, ValueError)  # the hub's own errors, and those of the network, come as OSErrors


def fetch(repository: str, folders: Iterable[str], dtype: torch.dtype, progress: Callable[[str], None]) -> Path:
    """Brings what is missing of some folders of a repository, "" for the uppermost one -> where they lie.

    Without the hub, what is in the cache will do. Raises one of `FAULTS`.
    """
    try:
        files = snapshot_download(repository, dry_run=True)
    except FAULTS as error:
        return _cached(repository, error)
    wanted = files_to_fetch({file.filename: file.file_size or 0 for file in files}, folders, dtype)
    missing = [file.filename for file in files if file.filename in wanted and not file.is_cached]
    if missing:
        progress(f"getting {len(missing)} files of {repository} ({in_words(sum(wanted[name] for name in missing))})")
    return Path(snapshot_download(repository, allow_patterns=list(wanted)))


def in_words(num_bytes: int) -> str:
    """1_300_000_000 -> "1.3 GB"."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"


def _cached(repository: str, error: Exception) -> Path:
    """As far as it was fetched before. Raises the hub's error where nothing was."""
    for name in ("model_index.json", "config.json"):
        file = try_to_load_from_cache(repository, name)
        if isinstance(file, str):
            return Path(file).parent
    raise error
