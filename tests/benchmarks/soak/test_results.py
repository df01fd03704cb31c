from benchmarks.soak.accounts import Account
from benchmarks.soak.results import FLATNESS_SECONDS, SoakResult, soak_table
from tests.benchmarks.samples import make_soak_result


def growing(mib_a_second: float, seconds: float) -> SoakResult:
    """A run in which the worker's memory grows."""
    return make_soak_result(seconds=seconds, worker_mib=lambda at: 900 + mib_a_second * at)


def test_flat_memory_is_no_problem() -> None:
    assert growing(0.0, seconds=600).problems == []


def test_growing_memory_is_a_problem() -> None:
    assert growing(0.2, seconds=600).problems == ["the memory of the worker grew by 84.0 MiB"]


def test_a_small_process_may_breathe() -> None:
    assert make_soak_result(seconds=600, worker_mib=lambda at: 50 + 0.015 * at).problems == []
    assert len(make_soak_result(seconds=600, worker_mib=lambda at: 50 + 0.025 * at).problems) == 1


def test_a_short_run_says_nothing_about_growth() -> None:
    assert growing(10.0, seconds=FLATNESS_SECONDS - 1).problems == []


def test_growth_before_the_warm_up_ends_is_none() -> None:
    result = make_soak_result(seconds=600, worker_mib=lambda at: 900 if at >= 180 else 5 * at)
    assert result.problems == []


def test_table_tells_both_sides_kinds_latency_and_memory() -> None:
    accounts = [Account(what="ok", clients=2, service=2), Account(what="lost", clients=1, service=0)]
    result = make_soak_result(seconds=600, accounts=accounts, worker_mib=lambda at: 900 + 0.1 * at)
    table = soak_table(result).splitlines()
    assert table[2:4] == ["| ok | 2 | 2 |", "| lost | 1 | 0 |"]
    assert table[5] == "3 requests of 4 clients in 600 s: 2 watch, 1 vanish."
    assert table[6] == "Finished after 2.00 s (p50), 2.98 s (p99)."
    assert table[8] == "Worker: 939 MiB after the warm-up, +42.0 MiB over the rest (+360 MiB an hour)."
