from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.results import LoadResult, save, spread, summarise
from benchmarks.tables import load_table
from tests.benchmarks.samples import make_load_result, make_sample


def test_spread_of_known_values() -> None:
    result = spread(range(1, 102))
    assert result is not None
    assert (result.n, result.min, result.p50, result.p90, result.p99, result.max) == (101, 1, 51, 91, 100, 101)
    assert result.stdev == pytest.approx(np.std(range(1, 102)))


def test_spread_of_nothing_is_none() -> None:
    assert spread([]) is None


def test_summary_counts_from_the_first_intended_send_to_the_last_end() -> None:
    summary = summarise([make_sample(intended=1.0, ended=2.0), make_sample(intended=2.0, ended=4.0)])
    assert summary.seconds == 5.0
    assert summary.images_per_second == pytest.approx(2 / 5)
    assert summary.preview_interval is not None
    assert summary.preview_interval.n == 2
    assert summary.preview_interval.p50 == 1.0


def test_failures_are_counted_by_kind_and_kept_out_of_latencies() -> None:
    failed = [make_sample(error="http_503", ended=99.0, previews=()) for _ in range(2)]
    summary = summarise([make_sample(), *failed])
    assert summary.errors == {"http_503": 2}
    assert summary.images == 1
    assert summary.end_to_end is not None
    assert summary.end_to_end.max == 2.0


def test_a_run_without_previews_or_without_images_sums_up_too() -> None:
    assert summarise([make_sample(previews=())]).first_preview is None
    assert summarise([]).images_per_second == 0.0


def test_stored_result_reads_back_with_its_machine_and_versions(tmp_path: Path) -> None:
    result = make_load_result([make_sample()])
    save(result, tmp_path / "deep" / "result.json")
    restored = msgspec.json.decode((tmp_path / "deep" / "result.json").read_bytes(), type=LoadResult)
    assert restored == result
    environment = restored.environment
    assert environment.cpu
    assert environment.cores >= 1
    assert "torch" in environment.packages


def test_table_names_latencies_throughput_and_failures() -> None:
    text = load_table(make_load_result([make_sample(), make_sample(error="timeout")]))
    assert "| first preview | 1 | 0.50 | 0.50 | 0.50 | 0.50 |" in text
    assert "1 images in 2.0 s: 0.50 images/s; errors: 1 timeout" in text
