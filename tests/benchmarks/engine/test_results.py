from pathlib import Path

from benchmarks.engine.results import EngineResults, load, merged
from benchmarks.results import save
from tests.benchmarks.engine.results import all_measurements, make_measurement


def test_every_kind_of_result_survives_storing(tmp_path: Path) -> None:
    measurements = all_measurements("bfloat16", "float32")
    save(EngineResults(measurements=measurements), tmp_path / "engine.json")
    assert load(tmp_path / "engine.json") == measurements


def test_no_file_holds_nothing(tmp_path: Path) -> None:
    assert load(tmp_path / "engine.json") == []


def test_a_new_measurement_replaces_that_of_the_same_stage_and_dtype() -> None:
    stored = [make_measurement("curve"), make_measurement("mixed"), make_measurement("curve", "float32")]
    again = make_measurement("curve", seconds=99.0)
    assert merged(stored, [again]) == [again, *stored[1:]]


def test_a_measurement_of_another_kind_is_added() -> None:
    stored, new = [make_measurement("curve")], make_measurement("joiner")
    assert merged(stored, [new]) == [*stored, new]
