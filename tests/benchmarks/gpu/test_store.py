"""What is stored of each task, and what is measured again."""

import csv
from pathlib import Path

import msgspec
import pytest

from benchmarks.gpu.store import MOST_ATTEMPTS, MOST_CUT_OFF, Point, Store, Subject, load

SUBJECT = Subject(model="tiny", dtype="float32", device="cpu", speedups="")
POINT = Point(what={"rows": 2, "rung": "eager"}, figures={"seconds": [0.3, 0.1, 0.2]})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gpu.json"


def make_store(path: Path, stage: str = "steps", subject: Subject = SUBJECT) -> Store:
    return Store(path, stage, subject)


def test_what_was_measured_is_known_to_the_next_start(path: Path) -> None:
    store = make_store(path)
    store.begin("one")
    store.finish("one", 1.5, [POINT])
    again = make_store(path)
    assert not again.is_due("one")
    assert again.is_due("two")
    assert again.known("steps") == [POINT]
    assert load(path).entries[0].seconds == 1.5


def test_a_task_that_fails_is_given_up(path: Path) -> None:
    store = make_store(path)
    for _ in range(MOST_ATTEMPTS):
        assert store.is_due("one")
        store.begin("one")
        store.fail("one", 0.1, "no compiler")
    assert not store.is_due("one")


def test_a_task_that_never_came_back_is_tried_more_often(path: Path) -> None:
    for attempt in range(MOST_CUT_OFF):
        store = make_store(path)
        assert store.attempts("one") == attempt
        assert store.is_due("one")
        store.begin("one")
    assert not make_store(path).is_due("one")


def test_a_failure_is_kept_with_its_reason_and_tried_again(path: Path) -> None:
    store = make_store(path)
    store.begin("one")
    store.fail("one", 0.1, "RuntimeError: no compiler")
    assert load(path).entries[0].error == "RuntimeError: no compiler"
    assert store.is_due("one")
    store.begin("one")
    store.finish("one", 0.2, [POINT])
    assert [entry.error for entry in load(path).entries] == [None]


def test_what_lacks_a_figure_is_tried_again_and_kept_until_then(path: Path) -> None:
    refused = Point(what={"rows": 2, "rung": "compile", "error": "no compiler"}, figures={})
    for _ in range(MOST_ATTEMPTS):
        store = make_store(path)
        assert store.is_due("one")
        store.begin("one")
        store.finish("one", 0.2, [POINT, refused])
    assert not store.is_due("one")
    store.begin("one")
    assert make_store(path).known("steps") == [POINT, refused]


def test_what_is_forgotten_is_due(path: Path) -> None:
    store = make_store(path)
    for task in ("one", "two"):
        store.begin(task)
        store.finish(task, 1.0, [POINT])
    store.forget(["one"])
    assert store.is_due("one")
    assert not store.is_due("two")


def test_subjects_are_measured_each_by_itself(path: Path) -> None:
    store = make_store(path)
    store.begin("one")
    store.finish("one", 1.0, [POINT])
    other = make_store(path, subject=msgspec.structs.replace(SUBJECT, dtype="bfloat16"))
    assert other.is_due("one")
    assert other.known("steps") == []


def test_stages_with_speedups_know_what_others_measured_without(path: Path) -> None:
    ceiling = make_store(path, "ceiling")
    ceiling.begin("products")
    ceiling.finish("products", 1.0, [POINT])
    fast = make_store(path, "serve", msgspec.structs.replace(SUBJECT, speedups='{"compile": "default"}'))
    assert fast.known("ceiling") == [POINT]
    assert fast.known("serve") == []


def test_a_second_copy_and_a_table_are_written(path: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    store = Store(path, "steps", SUBJECT, output=output)
    store.begin("one")
    store.finish("one", 1.0, [POINT])
    assert load(output / "gpu.json") == load(path)
    (row,) = csv.DictReader((output / "gpu.csv").read_text().splitlines())
    assert (row["task"], row["what"], row["figure"]) == ("one", "rows 2; rung eager", "seconds")
    assert (row["n"], row["min"], row["median"], row["max"]) == ("3", "0.1", "0.2", "0.3")


def test_failures_are_in_the_table(path: Path) -> None:
    store = make_store(path)
    store.begin("one")
    store.fail("one", 0.1, "out of memory")
    (row,) = csv.DictReader(path.with_suffix(".csv").read_text().splitlines())
    assert (row["figure"], row["n"]) == ("out of memory", "0")
