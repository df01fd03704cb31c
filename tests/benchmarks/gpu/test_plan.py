"""The order of tasks, and what becomes of those that fail or hang."""

import dataclasses
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from benchmarks.gpu import plan
from benchmarks.gpu.lab import Lab
from benchmarks.gpu.plan import LEVELS, STAGES, due, report, run_plan, run_process, run_stage
from benchmarks.gpu.scale import FULL
from benchmarks.gpu.store import Point, Store, Subject, load
from benchmarks.gpu.tasks import Stage, Task

SUBJECT = Subject(model="tiny", dtype="float32", device="cpu", speedups="")
FOREVER = 1e9


class Tasks:
    """A stage whose tasks note that they ran."""

    def __init__(self, *tasks: tuple[str, int, float]) -> None:
        self.ran: list[str] = []
        self.broken: set[str] = set()
        self._tasks = [Task(name, level, seconds, partial(self._run, name)) for name, level, seconds in tasks]

    def stage(self) -> Stage:
        return Stage("a stage", lambda _: self._tasks, lambda known: str(len(known("test"))), 60)

    def _run(self, name: str, _: Lab) -> Sequence[Point]:
        self.ran.append(name)
        if name in self.broken:
            raise RuntimeError("it broke")
        return [Point(what={"task": name}, figures={"seconds": [1.0]})]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "gpu.json", "test", SUBJECT)


def test_a_stage_runs_each_task_once(lab: Lab, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = Tasks(("one", 1, 1), ("two", 2, 1))
    monkeypatch.setitem(STAGES, "test", tasks.stage())
    for levels in ((1,), (1, 2), (1, 2)):
        run_stage("test", lab, store, levels, FOREVER)
    assert tasks.ran == ["one", "two"]


def test_a_task_begins_only_where_its_time_is_left(lab: Lab, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = Tasks(("long", 1, 100), ("short", 1, 1))
    monkeypatch.setitem(STAGES, "test", tasks.stage())
    run_stage("test", lab, store, (1,), 50)
    assert tasks.ran == ["short"]


def test_a_task_that_fails_stops_no_other_and_is_tried_again(
    lab: Lab, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = Tasks(("broken", 1, 1), ("one", 1, 1))
    tasks.broken.add("broken")
    monkeypatch.setitem(STAGES, "test", tasks.stage())
    run_stage("test", lab, store, (1,), FOREVER)
    assert tasks.ran == ["broken", "one"]
    assert "Not measured: broken: RuntimeError: it broke." in report(store.results, ["test"])
    assert [task.name for task in due(STAGES["test"].tasks(FULL), store, (1,))] == ["broken"]


def test_the_plan_takes_the_first_reading_of_all_stages_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = {name: Tasks(("first", 1, 10), ("rest", 2, 10)).stage() for name in ("one", "two")}
    monkeypatch.setattr(plan, "STAGES", stages)
    started: list[Sequence[str]] = []
    monkeypatch.setattr(plan, "run_process", lambda command, _: started.append(command))
    run_plan(FULL, lambda _: store, ["measure"], 1000, lambda _: None)
    assert [command[1:5] for command in started] == [
        ["--stage", name, "--level", level] for level in ("1", "2") for name in ("one", "two")
    ]


def test_the_plan_starts_nothing_that_cannot_end_in_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "STAGES", {"one": Tasks(("first", 1, 300)).stage()})
    monkeypatch.setattr(plan, "run_process", lambda *_: pytest.fail("started"))
    run_plan(FULL, lambda _: store, ["measure"], 200, lambda _: None)


def test_a_process_that_hangs_is_ended() -> None:
    began = time.monotonic()
    run_process([sys.executable, "-c", "import time; time.sleep(100)"], timeout=0.1)
    assert time.monotonic() - began < 50


def test_nothing_that_it_started_is_left(tmp_path: Path) -> None:
    """A child that does not obey, of a parent that does."""
    note = tmp_path / "pid"
    script = f"(trap '' TERM; exec sleep 100) & echo $! > {note}; wait"
    run_process(["sh", "-c", script], timeout=1.0)
    with suppress(psutil.NoSuchProcess):
        child = psutil.Process(int(note.read_text()))
        assert child.status() == psutil.STATUS_ZOMBIE or child.wait(30) is None


@pytest.mark.parametrize("name", STAGES)
def test_tasks_of_a_stage_have_names_of_their_own(name: str) -> None:
    tasks = STAGES[name].tasks(FULL)
    assert len({task.name for task in tasks}) == len(tasks)
    assert {task.level for task in tasks} <= set(LEVELS)


def test_each_task_of_the_plan_fits_into_a_run_of_ten_minutes() -> None:
    for stage in STAGES.values():
        for task in stage.tasks(FULL):
            assert task.most_seconds + plan.START_SECONDS + plan.GRACE_SECONDS <= 560


def test_the_first_steps_are_those_of_the_two_sizes_plain_and_compiled() -> None:
    names = [task.name for task in STAGES["steps"].tasks(FULL)][:4]
    plain, compiled = "eager", "eager; fastest attention; compile"
    assert names == [f"{shape}: {rungs}" for rungs in (plain, compiled) for shape in ("1024, 8 rows", "512, 16 rows")]


def test_what_matters_most_is_a_short_way_to_the_service_on_a_fast_rung() -> None:
    tasks = [(name, task) for name, stage in STAGES.items() for task in stage.tasks(FULL) if task.level == 0]
    assert [f"{name}: {task.name}" for name, task in tasks] == [
        "smoke: checks",
        "smoke: compiler",
        "ceiling: matrix products",
        "steps: 1024, 8 rows: eager",
        "steps: 1024, 8 rows: eager; fastest attention; compile",
        "parity: speed-ups 1024, 8 rows",
        "serve: step 1024, 20-20 steps, capacity",
        "serve: step 1024, 20-20 steps, 80% load",
    ]


def test_what_tasks_stand_on_is_started_once(lab: Lab, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the third task, which stands on something else, the time would not be enough."""
    tasks = Tasks(("one", 1, 10), ("two", 1, 55), ("three", 1, 55))
    stage = tasks.stage()
    standing = [
        dataclasses.replace(task, ground=ground, ground_seconds=50.0)
        for task, ground in zip(stage.tasks(FULL), "aab", strict=True)
    ]
    monkeypatch.setitem(STAGES, "test", stage._replace(tasks=lambda _: standing))
    run_stage("test", lab, store, (1,), 70)
    assert tasks.ran == ["one", "two"]


def test_what_never_came_back_goes_last_with_all_on_its_ground(store: Store) -> None:
    tasks = [
        dataclasses.replace(task, ground=ground)
        for task, ground in zip(
            Tasks(("one", 1, 1), ("two", 1, 1), ("three", 1, 1)).stage().tasks(FULL), ("a", "a", ""), strict=True
        )
    ]
    store.begin("one")
    assert [task.name for task in due(tasks, store, (1,))] == ["three", "one", "two"]


def test_nothing_is_reported_of_nothing(tmp_path: Path) -> None:
    assert report(load(tmp_path / "none.json")) == ""
