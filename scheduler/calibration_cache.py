"""Measured step times, kept from one start to the next: a file for each model on each device."""

import hashlib
import os
from pathlib import Path

import msgspec

from scheduler.calibration import Calibration
from scheduler.messages import Speedups


class CalibrationKey(msgspec.Struct, frozen=True, kw_only=True):
    """All that step times depend on. `unet` is a digest of its configuration, `max_rows` the cap asked for."""

    model: str
    unet: str
    device: str
    dtype: str
    torch: str
    latentcast: str
    max_rows: int
    speedups: Speedups = Speedups()


class Entry(msgspec.Struct, frozen=True):
    """What a file holds. The key is there to be read by people, and to be compared."""

    key: CalibrationKey
    calibration: Calibration


class CacheFault(Exception):  # noqa: N818 - a fault that is told and passed over
    """The cache cannot be used; the message is one line for people."""


class CalibrationCache:
    """`folder` None means the user's own."""

    def __init__(self, folder: str | None) -> None:
        self.folder = _user_folder() if folder is None else Path(folder)

    def load(self, key: CalibrationKey) -> Calibration | None:
        """None where nothing was kept. Raises `CacheFault`."""
        path = self._path(key)
        try:
            entry = msgspec.json.decode(path.read_bytes(), type=Entry)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:  # a file of another shape is a ValueError too
            raise CacheFault(f"{path} cannot be read: {_reason(error)}") from error
        return entry.calibration if entry.key == key and entry.calibration.step_times else None

    def store(self, key: CalibrationKey, calibration: Calibration) -> None:
        """Whoever reads meanwhile finds the old file or the new one, whole. Raises `CacheFault`."""
        path = self._path(key)
        unfinished = path.with_suffix(f".{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(Entry(key, calibration))))
            unfinished.replace(path)
        except OSError as error:
            raise CacheFault(f"{path} cannot be written: {_reason(error)}") from error

    def _path(self, key: CalibrationKey) -> Path:
        digest = hashlib.sha256(msgspec.json.encode(key)).hexdigest()
        return self.folder / f"{digest[:16]}.json"


def _user_folder() -> Path:
    """See https://specifications.freedesktop.org/basedir-spec/latest/."""
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - without a home: as it is
    return Path(caches) / "latentcast"


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
