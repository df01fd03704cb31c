import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from models.postcard.captions import Captioned
from models.postcard.evaluate import at_least, at_most, best_time, prove_judge, share, weight_bytes
from models.postcard.judge import Verdict
from models.postcard.world import random_scene


def make_captioned() -> Captioned:
    return Captioned(random_scene(np.random.default_rng(0), empty=0.0), "a caption")


def make_verdict(captioned: Captioned, **changes: Any) -> Verdict:
    scene = captioned.scene
    return dataclasses.replace(Verdict(scene.time, scene.ground, scene.colour), **changes)


def test_the_judge_is_proven_on_drawn_pictures() -> None:
    assert prove_judge(100) >= 99


def test_a_bar_is_passed_at_its_value() -> None:
    assert at_least("x", 95.0, "%", 95).passed
    assert not at_least("x", 94.9, "%", 95).passed
    assert at_most("x", 1.0, "s", 1).passed
    assert not at_most("x", 1.1, "s", 1).passed


def test_a_share_counts_right_verdicts() -> None:
    asked = make_captioned()
    shown = [(make_verdict(asked), asked), (make_verdict(asked, colour=None), asked)]
    assert share(shown, Verdict.agrees) == 50


def test_a_verdict_must_agree_in_every_respect() -> None:
    asked = make_captioned()
    assert make_verdict(asked).agrees(asked.scene)
    for respect in ("time", "ground", "colour"):
        assert not make_verdict(asked, **{respect: "other"}).agrees(asked.scene)


def test_only_weight_files_are_weighed(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "model.safetensors").write_bytes(b"12345")
    (tmp_path / "config.json").write_text("{}")
    assert weight_bytes(tmp_path) == 5


def test_the_best_time_leaves_the_warm_up_out() -> None:
    calls: list[int] = []
    assert best_time(lambda: calls.append(1), 3) >= 0
    assert len(calls) == 4
