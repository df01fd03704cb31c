"""Stored results in documents; and that docs/engine.md says what is stored."""

import sys
from pathlib import Path

import pytest

from benchmarks import document
from benchmarks.document import BLOCK, blocks, draw, fill, read
from benchmarks.engine.results import EngineResults
from benchmarks.environment import ROOT
from benchmarks.fanout.results import FanoutResults
from benchmarks.results import save
from tests.benchmarks.engine.results import RESULTS, all_measurements
from tests.benchmarks.fanout import samples as fanout
from tests.benchmarks.samples import make_comparison, make_load_result, make_round, make_sample, make_soak_result

ENGINE = EngineResults(measurements=all_measurements("bfloat16", "float32"))


def test_a_block_is_replaced_and_all_else_stays() -> None:
    text = "before\n<!-- goals -->\nold\nlines\n<!-- end -->\nbetween\n<!-- curve -->\n<!-- end -->\nafter\n"
    assert fill(text, {"goals": "new", "curve": "| a |\n| b |"}) == (
        "before\n<!-- goals -->\nnew\n<!-- end -->\nbetween\n<!-- curve -->\n| a |\n| b |\n<!-- end -->\nafter\n"
    )


def test_a_block_without_a_result_stays() -> None:
    text = "<!-- mixed traffic -->\nNot measured yet.\n<!-- end -->\n"
    assert fill(text, {"goals": "new"}) == text


def test_filling_again_changes_nothing() -> None:
    text = fill("<!-- goals -->\n<!-- end -->\n", blocks([ENGINE]))
    assert fill(text, blocks([ENGINE])) == text


def test_every_stage_has_a_block_with_each_dtype() -> None:
    named = blocks([ENGINE])
    assert set(named) == {"goals", *RESULTS}
    assert "postcard, bfloat16:" in named["goals"]
    assert "postcard, float32:" in named["goals"]
    for stage in RESULTS:
        assert RESULTS[stage].table() in named[stage]
        assert "postcard, float32; " in named[stage]


def test_other_results_have_blocks_too() -> None:
    named = blocks(
        [make_soak_result(), make_comparison([make_round("one", 0, 5.0)]), make_load_result([make_sample()])]
    )
    assert named["mixed traffic"].startswith("| requests | clients | service |")
    assert set(named) == {"mixed traffic", "test"}


def test_the_fan_out_has_blocks_of_goals_of_its_plot_and_of_each_stage() -> None:
    measurements = [fanout.make_measurement(stage) for stage in fanout.RESULTS]
    named = blocks([FanoutResults(measurements=measurements)])
    assert set(named) == {"fanout", "fanout plot", *(f"fanout {stage}" for stage in fanout.RESULTS)}
    assert named["fanout"].startswith("| figure | measured | goal | met |")
    assert {each.stage: named[f"fanout {each.stage}"] for each in measurements} == {
        each.stage: each.table() for each in measurements
    }
    assert named["fanout plot"] == "![The fan-out: pipeline, streams, idle, peers](fanout.png)"


def test_the_fan_outs_plot_is_drawn_where_it_is_shown(tmp_path: Path) -> None:
    results = {tmp_path / "fanout.json": FanoutResults(measurements=[fanout.make_measurement("idle")])}
    assert draw(results, tmp_path, "# Another page") == []
    assert draw(results, tmp_path, "![The fan-out: idle](fanout.png)") == [tmp_path / "fanout.png"]
    assert (tmp_path / "fanout.png").exists()


def test_the_command_fills_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(ENGINE, tmp_path / "engine.json")
    save(make_soak_result(), tmp_path / "soak.json")
    page = tmp_path / "page.md"
    page.write_text("# Page\n<!-- saturation -->\n<!-- end -->\n")
    arguments = [page, tmp_path / "engine.json", tmp_path / "soak.json"]
    monkeypatch.setattr(sys, "argv", ["document", *map(str, arguments)])
    document.main()
    assert RESULTS["saturation"].table() in page.read_text()
    drawn = capsys.readouterr().out.split()
    assert sorted(drawn) == sorted(str(path) for path in tmp_path.glob("*.png"))
    assert str(tmp_path / "engine-traffic.png") in drawn
    assert len(drawn) == 6


def test_the_engines_page_says_what_is_stored() -> None:
    page = (ROOT / "docs" / "engine.md").read_text()
    stored = [read(path) for path in sorted((ROOT / "benchmarks" / "results").glob("*.json"))]
    assert len(BLOCK.findall(page)) == page.count("<!-- end -->") > 0
    assert fill(page, blocks(stored)) == page
