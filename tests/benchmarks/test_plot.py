from pathlib import Path

import msgspec
import pytest

from benchmarks.plot import plot
from benchmarks.results import save
from tests.benchmarks.samples import make_comparison, make_load_result, make_round, make_sample, make_soak_result


@pytest.mark.parametrize(
    "result",
    [
        make_load_result([make_sample(), make_sample(error="timeout", previews=())]),
        make_load_result([]),
        make_comparison([make_round("step", 0, 5.0), make_round("one", 0, 10.0)]),
        make_soak_result(),
    ],
    ids=["load", "empty load", "comparison", "mixed traffic"],
)
def test_stored_results_become_a_picture(result: msgspec.Struct, tmp_path: Path) -> None:
    save(result, tmp_path / "result.json")
    plot(tmp_path / "result.json", tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
