from pathlib import Path

from benchmarks.fanout.results import FanoutResults, load, merged, report
from benchmarks.results import save
from tests.benchmarks.fanout.samples import RESULTS, make_measurement


def test_what_is_stored_is_read_back(tmp_path: Path) -> None:
    measurements = [make_measurement(stage) for stage in RESULTS]
    save(FanoutResults(measurements=measurements), tmp_path / "fanout.json")
    assert load(tmp_path / "fanout.json") == measurements
    assert load(tmp_path / "nothing.json") == []


def test_a_new_result_takes_the_place_of_the_old_one() -> None:
    old, other, new = make_measurement("idle"), make_measurement("write"), make_measurement("idle", seconds=99)
    assert merged([old, other], [new]) == [new, other]


def test_the_goals_come_last() -> None:
    text = report([make_measurement(stage) for stage in RESULTS])
    assert text[text.index("| figure") :].splitlines() == [
        "| figure | measured | goal | met |",
        "| --- | ---: | ---: | ---: |",
        "| CPU of an event against a bare protocol: `EventStream.write_frame` | 1.15x (1.10x to 1.20x) "
        "| at most 1.15x | yes |",
        "| CPU of an event against a bare protocol: the whole service | 7.00x | at most 8.00x | yes |",
        "| previews that came, of those due | 100 % |  |  |",
        "| 5,000 streams, a preview every 1 s: p99 of their delay | 98 ms | at most 250 ms | yes |",
        "| 5,000 streams, a preview every 1 s: delivered | 97 % | at least 99 % | **no** |",
        "| memory of an idle stream | 16 KiB (15 KiB to 17 KiB) | at most 16 KiB | yes |",
        "| memory of an idle stream and its generation | 30 KiB |  |  |",
        "| memory of a stalled reader, kernel included | 370 KiB | at most 488 KiB | yes |",
        "| others' delay beside 10 stalled readers, median | 2.00x |  |  |",
        "| CPU of an admission where 5,000 wait, against 10 | 1.10x (1.00x to 1.20x) | at most 2.00x | yes |",
        "| CPU of an admission where 5,000 run, against 10 | 2.25x (2.00x to 2.50x) | at most 2.00x | **no** |",
        "| CPU of an event against a bare protocol: `EventStream.write_frame` | 1.10x |  |  |",
        "| CPU of an event against a bare protocol: `EventSourceResponse.send` of aiohttp-sse | 12.00x |  |  |",
        "| CPU of an event against a bare protocol: FastAPI and sse-starlette, uvicorn with httptools | 13.00x |  |  |",
    ]


def test_each_stage_has_a_table_of_its_own() -> None:
    for stage in RESULTS:
        assert report([make_measurement(stage)]).startswith(f"## {stage}\n\n| ")
    assert "| the whole service | 70.0 | 7.00x |" in make_measurement("pipeline").table()
    assert "| 1 | 2.0 | 80.4 | 98.0 | 100.0 | 97.0% | 2.0% | 30% |" in make_measurement("streams").table()
    assert "| 1 | 240 | 130 | 1.0 | 1.0 | 2.0 | 2.0 |" in make_measurement("stalled").table()
    assert "| run | 5,000 | 90 | 8,822 | 10,000 |" in make_measurement("admission").table()
    assert "| 200 | 4.1 | 6.8 |" in make_measurement("idle").table()
