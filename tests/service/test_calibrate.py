"""`latentcast calibrate`, with a real worker process."""

import io
import json
from pathlib import Path

import msgspec
import pytest
from PIL import Image
from rich.console import Console

from scheduler.messages import DeviceMemory, StepPeak, StepTime
from service.__main__ import main
from service.calibrate import tell
from service.speed import Speed, speed_of
from tests.info import make_info
from tests.models import save_tiny_sdxl

FAKE = ("--engine", "fake", "--fake-step-ms", "20")


def told(**info: object) -> list[str]:
    console = Console(file=io.StringIO(), width=100)
    tell(speed_of(make_info(**info)), console)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_the_curve_of_each_size_is_told() -> None:
    times = tuple(StepTime(side**2, rows, 0.01 * rows * side / 256) for side in (128, 256) for rows in (1, 4))
    assert told(step_times=times, max_rows=4, max_step_seconds=0.02) == [
        "postcard on cpu in float32",
        "",
        "128x128",
        " rows  ms a step  rows a second",
        "    1        5.0          200.0",
        "    4       20.0          200.0",
        "knee 1: with so many rows there are 95% of the most rows a second",
        "cap 4: as many rows as any batch may have (--max-rows, or what fits into memory)",
        "",
        "256x256",
        " rows  ms a step  rows a second",
        "    1       10.0          100.0",
        "    4       40.0          100.0",
        "knee 1: with so many rows there are 95% of the most rows a second",
        "cap 2: a batch grows on while a step takes at most 20 ms (--step-ms)",
    ]


def test_a_cap_at_the_knee_is_explained() -> None:
    times = tuple(StepTime(256**2, rows, seconds) for rows, seconds in ((1, 0.1), (4, 0.1), (8, 0.2)))
    assert told(step_times=times, max_rows=8, max_step_seconds=0.05)[-2:] == [
        "knee 4: with so many rows there are 95% of the most rows a second",
        "cap 4: more rows would make a step longer, and hardly pay",
    ]


def test_memory_is_told_where_it_is_known() -> None:
    memory = DeviceMemory(
        available=10 * 10**9,
        resting=7 * 10**9,
        step_peaks=(StepPeak(256**2, 1, 250_000_000), StepPeak(256**2, 4, 10**9)),
        decode_peak=10**9,
        decode_pixels=256**2,
    )
    times = tuple(StepTime(256**2, rows, 0.1) for rows in (1, 4))
    assert told(step_times=times, max_rows=8, memory=memory)[2:] == [
        "256x256",
        " rows  ms a step  rows a second  GB in use",
        "    1      100.0           10.0        7.2",
        "    4      100.0           40.0        8.0",
        "knee 8: with so many rows there are 95% of the most rows a second",
        "cap 6: a batch of more rows would not fit into the device's memory, with a decode beside it",
    ]


def test_it_measures_a_model_and_keeps_that(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, cache = save_tiny_sdxl(tmp_path / "model"), tmp_path / "cache"
    capsys.readouterr()  # the libraries talk while they save it
    assert main(["calibrate", "--model", str(model), "--cache-dir", str(cache), "--max-rows", "2"]) == 0
    output = capsys.readouterr()
    assert output.out.startswith("model on cpu in ")
    assert "64x64\n rows  ms a step  rows a second" in output.out
    assert "measuring the model's speed, 1 of 4" in output.err.splitlines()
    assert output.err.splitlines()[-1] == f"kept in {cache}"
    assert len(list(cache.iterdir())) == 1


def test_it_is_written_as_json(tmp_path: Path) -> None:
    file = tmp_path / "speed.json"
    assert main(["calibrate", *FAKE, "--json", str(file)]) == 0
    speed = msgspec.json.decode(file.read_bytes(), type=Speed)
    assert (speed.model, speed.max_rows, len(speed.sizes)) == ("fake", 32, 2)
    assert json.loads(file.read_text())["sizes"][0]["measured"][0] == {"rows": 1, "seconds": 0.02}


def test_it_is_drawn(tmp_path: Path) -> None:
    assert main(["calibrate", *FAKE, "--plot", str(tmp_path / "speed.png")]) == 0
    with Image.open(tmp_path / "speed.png") as image:
        assert image.format == "PNG"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--plot", "speed.jpg"], "--plot speed.jpg: must end in .png"),
        (["--plot", "no/speed.png"], "--plot no/speed.png: there is no folder no"),
        (["--json", "no/speed.json"], "--json no/speed.json: there is no folder no"),
        (["--json", "."], ". cannot be written: Is a directory"),
        (
            ["--engine", "sdxl", "--model", "/no/model"],
            "there is no folder /no/model: --model takes a diffusers folder",
        ),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["calibrate", *FAKE, *arguments]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"latentcast: {message}")


def test_without_matplotlib_it_is_said_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert main(["calibrate", *FAKE, "--plot", "speed.png"]) == 1
    message = "latentcast: --plot speed.png: needs matplotlib, pip install 'latentcast[bench]'"
    assert capsys.readouterr().err.strip() == message


def test_it_always_measures_anew(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["calibrate", *FAKE, "--calibration", "skip"])
    assert "unrecognized arguments: --calibration skip" in capsys.readouterr().err
