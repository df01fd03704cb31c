"""`latentcast generate`, with a real worker process that has the fake engine."""

import re
from pathlib import Path

import pytest
from PIL import Image
from PIL.GifImagePlugin import GifImageFile

from scheduler.fake_engine import FAILING_PROMPT
from service.__main__ import main
from tests.gifs import frames_of, last_frame_is_of
from tests.service.harness import is_picture_of


def generate(*arguments: str) -> int:
    return main(["generate", *arguments, "--engine", "fake"])


def test_a_picture_and_its_previews(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, previews = tmp_path / "out.png", tmp_path / "new" / "previews"
    code = generate(
        "a red boat",
        "-o",
        str(output),
        "--previews",
        str(previews),
        "--size",
        "128x64",
        "--steps",
        "12",
        "--seed",
        "7",
        "--fake-step-ms",
        "30",
    )
    assert code == 0
    with Image.open(output) as image:
        assert (image.format, image.size) == ("PNG", (128, 64))
    assert is_picture_of(7, output.read_bytes())
    assert [file.name for file in sorted(previews.iterdir())] == ["step-01.jpg", "step-06.jpg", "step-11.jpg"]
    assert re.search(r"out\.png: 128x64, seed 7, \d+\.\d s", capsys.readouterr().err)


def test_several_pictures_are_numbered_and_so_are_their_previews(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, previews = tmp_path / "out.png", tmp_path / "previews"
    arguments = ["--size", "64x64", "--steps", "2", "--seed", "7", "--num-images", "3", "--previews", str(previews)]
    assert generate("a", "-o", str(output), *arguments) == 0
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["out-0.png", "out-1.png", "out-2.png"]
    assert all(is_picture_of(7 + index, (tmp_path / f"out-{index}.png").read_bytes()) for index in range(3))
    assert {path.name for path in previews.iterdir()} == {f"{index}-step-01.jpg" for index in range(3)}
    assert re.findall(r"out-(\d)\.png: 64x64, seed (\d+)", capsys.readouterr().err) == [
        ("0", "7"),
        ("1", "8"),
        ("2", "9"),
    ]


def test_a_gif_has_all_previews_and_the_picture_longest_in_its_size(tmp_path: Path) -> None:
    gif = tmp_path / "forming.gif"
    arguments = ["-o", str(tmp_path / "out.png"), "--gif", str(gif), "--size", "768x512", "--steps", "12"]
    assert generate("a", *arguments, "--seed", "7") == 0
    assert frames_of(gif) == [((768, 512), 300)] * 3 + [((768, 512), 2000)]  # after steps 1, 6 and 11: 512x341
    assert last_frame_is_of(7, gif)


def test_a_picture_of_one_step_has_a_gif_of_itself(tmp_path: Path) -> None:
    gif = tmp_path / "forming.gif"
    arguments = ["-o", str(tmp_path / "out.png"), "--gif", str(gif), "--size", "64x64", "--steps", "1"]
    assert generate("a", *arguments) == 0
    with Image.open(gif) as image:
        assert isinstance(image, GifImageFile)
        assert (image.n_frames, image.size) == (1, (64, 64))


def test_each_of_several_pictures_has_a_gif_of_its_own(tmp_path: Path) -> None:
    gif = tmp_path / "forming.gif"
    arguments = ["--gif", str(gif), "--size", "64x64", "--steps", "4", "--preview-every", "1", "--seed", "7"]
    assert generate("a", "-o", str(tmp_path / "out.jpg"), "--num-images", "2", *arguments) == 0
    assert sorted(path.name for path in tmp_path.glob("*.gif")) == ["forming-0.gif", "forming-1.gif"]
    for index in range(2):
        numbered = gif.with_stem(f"forming-{index}")
        assert [milliseconds for _, milliseconds in frames_of(numbered)] == [300, 300, 300, 2000]
        assert last_frame_is_of(7 + index, numbered)


@pytest.mark.parametrize(("name", "kind"), [("out.jpg", "JPEG"), ("out.WEBP", "WEBP")])
def test_the_name_of_the_file_decides_its_format(tmp_path: Path, name: str, kind: str) -> None:
    assert generate("a", "-o", str(tmp_path / name), "--size", "64x64", "--steps", "1") == 0
    with Image.open(tmp_path / name) as image:
        assert image.format == kind


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "--steps", "51"], "--steps 51: must be at most 50"),
        (["a", "--guidance", "nan"], "--guidance nan: must be a finite number"),
        (["a", "--guidance-rescale", "2"], "--guidance-rescale 2: must be at most 1"),
        (["a", "--num-images", "5"], "--num-images 5: must be at most 4"),
        (["a", "--seed", "x"], "--seed x: must be a whole number"),
        (["", "--seed", "1"], "prompt: must not be empty"),
        (["a", "--size", "100x64"], "--width 100: must be a multiple of 8"),
        (["a", "-o", "out.gif"], "--output out.gif: must end in .png, .jpg, .jpeg, .webp"),
        (["a", "-o", "missing/out.png"], "--output missing/out.png: there is no folder missing"),
        (["a", "--previews", "file"], "--previews file: is not a folder"),
        (["a", "--gif", "out.png"], "--gif out.png: must end in .gif"),
        (["a", "--gif", "missing/out.gif"], "--gif missing/out.gif: there is no folder missing"),
        (["a", "--gif", "out.gif", "--preview-every", "0"], "--preview-every 0: --gif is made of previews"),
        (["a", "-o", "folder.png"], "folder.png cannot be written: Is a directory"),
        (
            ["a", "--previews", "file/in", "--fake-step-ms", "30"],
            "file/in/step-01.jpg cannot be written: Not a directory",
        ),
        ([FAILING_PROMPT], "the fake engine was asked to fail this request"),
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
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    assert generate(*arguments) == 1
    assert capsys.readouterr().err.strip().splitlines()[-1] == f"latentcast: {message}"
    assert not (tmp_path / "out.png").exists()


def test_the_name_of_the_file_is_no_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a[").mkdir()
    for name in ("[red].png", "a[/b].png"):
        assert generate("a", "-o", str(tmp_path / name), "--size", "64x64", "--steps", "1") == 0
        assert f"{name}: 64x64" in capsys.readouterr().err
