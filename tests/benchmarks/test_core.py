from pathlib import Path

import msgspec
import pytest

from benchmarks.core import Policy, StepCost, StepTimer, load_label, main, measure_step_cost
from benchmarks.policy import DEVICES, LOADS, POLICIES, Load


def test_every_call_of_every_step_is_timed() -> None:
    timer = StepTimer(waiting=50, seed=0)
    timer.run(20)
    counts = {call: len(taken) for call, taken in timer.microseconds.items()}
    assert {counts[call] for call in ("schedule", "postprocess", "expire", "abort")} == {20}
    assert counts["add"] >= 50 + 20


def test_the_result_says_what_was_measured() -> None:
    result = measure_step_cost("test", waiting=30, num_steps=10, seed=0)
    assert (result.waiting, result.sizes, result.step.n) == (30, 6, 10)
    assert result.step.max <= result.schedule.max + result.postprocess.max + 1e-6


def test_step_cost_is_stored_and_its_table_is_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "core.json"
    main(["step_cost", "--waiting", "30", "--steps", "10", "--json", str(path)])
    stored = msgspec.json.decode(path.read_bytes(), type=StepCost)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| microseconds | n | p50 | p90 | p99 | max |"
    assert lines[2].startswith(f"| schedule + postprocess | 10 | {stored.step.p50:.1f} |")
    assert "30 requests waiting in 6 sizes" in lines


def test_policies_are_stored_and_their_table_is_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "policy.json"
    main(["policy", "--count", "300", "--json", str(path)])
    stored = msgspec.json.decode(path.read_bytes(), type=Policy)
    assert len(stored.shared) == sum(len(LOADS[device]) for device in DEVICES) * len(POLICIES)
    assert set(stored.joining) == set(DEVICES)
    out = capsys.readouterr().out
    assert "| steady, 8 clients, as it is | " in out
    assert "300 requests a run, seed 0" in out


def test_a_load_is_told_by_what_drives_it() -> None:
    assert [load_label(load) for load in (Load(clients=8), Load(rate=1.5))] == ["8 clients", "1.5 requests/s"]


def test_a_stage_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "stage" in capsys.readouterr().err
