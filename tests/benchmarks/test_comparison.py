from benchmarks.compare import FOUR_WAYS, MODES, make_parser
from benchmarks.comparison import Range, range_of, summarise_rounds
from benchmarks.tables import comparison_table
from tests.benchmarks.samples import make_comparison, make_round

ROUNDS = [
    make_round("step", 0, seconds=5.0),
    make_round("one", 0, seconds=10.0),
    make_round("one", 1, seconds=20.0),
    make_round("step", 1, seconds=5.0),
]


def test_speed_up_is_against_the_same_round() -> None:
    figures = summarise_rounds(ROUNDS)
    assert figures["step"].speed_up == Range(2.0, 3.0, 4.0)
    assert figures["one"].speed_up == Range(1.0, 1.0, 1.0)
    assert figures["step"].images_per_second == Range(2.0, 2.0, 2.0)


def test_without_the_baseline_there_is_no_speed_up() -> None:
    assert summarise_rounds([make_round("step", 0, 5.0)])["step"].speed_up is None


def test_a_process_of_its_own_has_no_worker() -> None:
    assert summarise_rounds([make_round("naive", 0, 5.0)])["naive"].worker_mib is None


def test_range_of_rounds() -> None:
    assert range_of([3.0, 1.0, 2.0]) == Range(1.0, 2.0, 3.0)
    assert range_of([]) is None


def test_table_has_a_row_for_each_mode() -> None:
    table = comparison_table(make_comparison([*ROUNDS, make_round("naive", 0, 12.5)]))
    step = next(line for line in table.splitlines() if line.startswith("| `--batching step`"))
    assert "| 2.00 | 3.00x (2.00 to 4.00) | 0.50 s |" in step
    assert step.endswith("100 + 900 MiB |")
    naive = next(line for line in table.splitlines() if "a thread and a pipeline call" in line)
    assert naive.endswith("| 100 MiB |")
    assert "16 clients, 10 images a round, 2 rounds, 20 steps" in table


def test_all_four_ways_are_compared_by_default() -> None:
    assert tuple(make_parser().parse_args([]).modes) == FOUR_WAYS == ("step", "call", "one", "naive")
    assert set(FOUR_WAYS) < set(MODES)
