"""A service really started, loaded for some seconds, and a balance that is even."""

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from benchmarks.servers import ServerError
from benchmarks.soak.__main__ import make_parser, plan_of
from benchmarks.soak.results import Plan, SoakResult
from benchmarks.soak.run import run

FAKE = ["--engine", "fake", "--fake-step-ms", "5", "--keep-minutes", "1"]


def make_plan(*options: str, clients: int = 12) -> Plan:
    return Plan(options=[*FAKE, *options], clients=clients, seconds=3.0, size=128)


@pytest.fixture(scope="module")
def soaked(tmp_path_factory: pytest.TempPathFactory) -> SoakResult:
    return run(make_plan(), tmp_path_factory.mktemp("soak") / "service.log", quiet=True)


def test_every_request_is_accounted_for(soaked: SoakResult) -> None:
    assert soaked.problems == []
    assert len(soaked.endings) >= 12


def test_both_sides_counted_the_same_requests(soaked: SoakResult) -> None:
    outcomes = Counter[str](ending.outcome for ending in soaked.endings)
    by_name = {account.what: account.service for account in soaked.accounts}
    assert {name: count for name, count in outcomes.items() if by_name[name] != count} == {}
    assert outcomes["ok"] > 0


def test_memory_was_watched(soaked: SoakResult) -> None:
    assert all(sample.service_mib > 10 and sample.worker_mib > 10 for sample in soaked.memory[1:])


def test_a_result_survives_storing(soaked: SoakResult) -> None:
    assert msgspec.json.decode(msgspec.json.encode(soaked), type=SoakResult) == soaked


def test_a_full_queue_is_accounted_for_too(tmp_path: Path) -> None:
    result = run(make_plan("--max-queue-cost", "10", clients=24), tmp_path / "service.log", quiet=True)
    assert result.problems == []
    assert any(ending.reason == "queue_full" for ending in result.endings)


def test_a_service_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="before it was ready"):
        run(make_plan("--max-rows", "none"), tmp_path / "service.log", quiet=True)


def test_options_become_a_plan() -> None:
    plan = plan_of(make_parser().parse_args(["--minutes", "0.5", "--engine", "fake", "--batching", "call"]))
    assert plan.seconds == 30
    assert plan.options[plan.options.index("--batching") + 1] == "call"
    assert "--model" not in plan.options
