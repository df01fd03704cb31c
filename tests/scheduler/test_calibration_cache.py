import re
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from scheduler.calibration import Calibration
from scheduler.calibration_cache import CacheFault, CalibrationCache, CalibrationKey
from scheduler.messages import StepTime

MEASURED = Calibration((StepTime(256 * 256, 1, 0.02), StepTime(256 * 256, 2, 0.03)), max_rows=32)


def make_key(**changes: Any) -> CalibrationKey:
    defaults: dict[str, Any] = {
        "model": "/models/postcard",
        "unet": "0123",
        "device": "cpu",
        "dtype": "float32",
        "torch": "2.6",
        "latentcast": "1.0",
        "max_rows": 32,
    }
    return CalibrationKey(**(defaults | changes))


def file_in(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def test_nothing_is_known_of_a_new_model(tmp_path: Path) -> None:
    assert CalibrationCache(str(tmp_path)).load(make_key()) is None


def test_what_was_stored_is_found_again(tmp_path: Path) -> None:
    CalibrationCache(str(tmp_path / "new")).store(make_key(), MEASURED)
    assert CalibrationCache(str(tmp_path / "new")).load(make_key()) == MEASURED
    assert re.fullmatch(r"[0-9a-f]{16}\.json", file_in(tmp_path / "new").name)


@pytest.mark.parametrize("field", CalibrationKey.__struct_fields__)
def test_every_part_of_the_key_counts(tmp_path: Path, field: str) -> None:
    cache = CalibrationCache(str(tmp_path))
    cache.store(make_key(), MEASURED)
    assert cache.load(make_key(**{field: 64 if field == "max_rows" else "another"})) is None


def test_a_newer_measurement_replaces_the_older(tmp_path: Path) -> None:
    cache = CalibrationCache(str(tmp_path))
    cache.store(make_key(), MEASURED)
    newer = Calibration(MEASURED.step_times[:1], max_rows=8)
    cache.store(make_key(), newer)
    assert cache.load(make_key()) == newer
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_of_another_model_is_not_believed(tmp_path: Path) -> None:
    cache = CalibrationCache(str(tmp_path))
    cache.store(make_key(), MEASURED)
    file = file_in(tmp_path)
    file.write_bytes(file.read_bytes().replace(b"postcard", b"cardpost"))
    assert cache.load(make_key()) is None


def test_a_file_without_step_times_is_not_believed(tmp_path: Path) -> None:
    cache = CalibrationCache(str(tmp_path))
    cache.store(make_key(), Calibration((), max_rows=32))
    assert cache.load(make_key()) is None


@pytest.mark.parametrize("contents", [b"", b"{", b"[]", b'{"key": {}}', b"\xff\xfe"])
def test_a_broken_file_is_told_in_one_line(tmp_path: Path, contents: bytes) -> None:
    cache = CalibrationCache(str(tmp_path))
    cache.store(make_key(), MEASURED)
    file_in(tmp_path).write_bytes(contents)
    with pytest.raises(CacheFault, match=rf"^{re.escape(str(file_in(tmp_path)))} cannot be read: ") as caught:
        cache.load(make_key())
    assert "\n" not in str(caught.value)
    cache.store(make_key(), MEASURED)
    assert cache.load(make_key()) == MEASURED


def test_a_number_that_no_step_can_take_is_not_believed(tmp_path: Path) -> None:
    cache = CalibrationCache(str(tmp_path))
    cache.store(make_key(), Calibration((StepTime(65536, 2, 0.0),), max_rows=32))
    with pytest.raises(CacheFault, match="cannot be read"):
        cache.load(make_key())


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = CalibrationCache(str(tmp_path / "file" / "in"))
    with pytest.raises(CacheFault, match=r"in/[0-9a-f]{16}\.json cannot be read: Not a directory$"):
        cache.load(make_key())
    with pytest.raises(CacheFault, match=r"in/[0-9a-f]{16}\.json cannot be written: Not a directory$"):
        cache.store(make_key(), MEASURED)


def test_the_folder_is_the_users_own_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert CalibrationCache(None).folder == Path("/home/somebody/.cache/latentcast")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert CalibrationCache(None).folder == Path("/caches/latentcast")


def test_people_can_read_the_file(tmp_path: Path) -> None:
    CalibrationCache(str(tmp_path)).store(make_key(), MEASURED)
    file = file_in(tmp_path)
    assert msgspec.json.decode(file.read_bytes())["key"]["model"] == "/models/postcard"
    assert file.read_text().count("\n") > 10
    assert stat.S_IMODE(file.stat().st_mode) & 0o400
