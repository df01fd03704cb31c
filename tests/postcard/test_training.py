import itertools
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from models.postcard.captions import vocabulary
from models.postcard.latents import LatentStore, from_unet_space, set_statistics, to_unet_space
from models.postcard.recipe import Recipe
from models.postcard.tiny import TinyStage
from models.postcard.tokenizer import new_tokenizer
from models.postcard.training import Clock, Stage, averaged, learning_rate, run_stage
from models.postcard.unet import UnetStage, emphasis
from models.postcard.vae import VaeStage, new_vae, psnr

CPU = torch.device("cpu")


@dataclass
class StopsAfter(Clock):
    """A clock whose time is up after some looks at it."""

    looks: int = 3

    def expired(self) -> bool:
        self.looks -= 1
        return self.looks < 0


def make_store(work: Path, recipe: Recipe) -> LatentStore:
    torch.manual_seed(0)
    vae = new_vae(recipe)
    set_statistics(vae, 1, work / "statistics.json")
    store = LatentStore(recipe, vae, work)
    assert all(store.fill(size, Clock()) for size in ((8, 8), (8, 16)))
    return store


def make_stage(name: str, work: Path) -> Stage:
    recipe = Recipe.toy()
    if name == "vae":
        return VaeStage(recipe, CPU)
    store = make_store(work, recipe)
    if name == "tiny":
        return TinyStage(recipe, store, CPU)
    return UnetStage(recipe, store, new_tokenizer(vocabulary()), CPU)


def losses(work: Path, name: str) -> list[str]:
    return (work / f"{name}.csv").read_text().splitlines()


@pytest.mark.parametrize("name", ["vae", "tiny", "unet"])
def test_a_resumed_training_equals_an_uninterrupted_one(name: str, tmp_path: Path) -> None:
    whole, sliced = tmp_path / "whole", tmp_path / "sliced"
    for work in (whole, sliced):
        work.mkdir()
    through = make_stage(name, whole)
    assert run_stage(through, whole, Clock())
    assert not run_stage(make_stage(name, sliced), sliced, StopsAfter())
    resumed = make_stage(name, sliced)
    assert run_stage(resumed, sliced, Clock())
    assert losses(sliced, name) == losses(whole, name)
    assert len(losses(whole, name)) == through.steps
    assert averaged(through, whole) == averaged(resumed, sliced) == through.steps
    weights, same_weights = through.network.state_dict(), resumed.network.state_dict()
    assert all(torch.equal(value, same_weights[key]) for key, value in weights.items())


def test_a_finished_stage_is_not_trained_again(tmp_path: Path) -> None:
    stage = make_stage("vae", tmp_path)
    run_stage(stage, tmp_path, Clock())
    before = losses(tmp_path, "vae")
    assert run_stage(make_stage("vae", tmp_path), tmp_path, StopsAfter(looks=0))
    assert losses(tmp_path, "vae") == before


def test_checkpoints_lie_in_files_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.postcard.training.CHECKPOINT_FILE_BYTES", 40_000)
    run_stage(make_stage("vae", tmp_path), tmp_path, Clock())
    files = list((tmp_path / "vae").glob("*.safetensors"))
    assert len(files) > 1
    assert all(path.stat().st_size < 60_000 for path in files)
    assert averaged(make_stage("vae", tmp_path), tmp_path) == Recipe.toy().vae_steps


def test_a_kill_between_two_renames_loses_nothing(tmp_path: Path) -> None:
    run_stage(make_stage("vae", tmp_path), tmp_path, Clock())
    (tmp_path / "vae").rename(tmp_path / "vae.new")
    assert averaged(make_stage("vae", tmp_path), tmp_path) == Recipe.toy().vae_steps


def test_training_waits_while_the_pause_file_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pause = tmp_path / "PAUSE"
    pause.touch()
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            pause.unlink()

    monkeypatch.setattr("models.postcard.training.time.sleep", nap)
    Clock(pause_file=pause).wait_while_paused()
    assert len(naps) == 3


def test_a_pause_does_not_outlast_the_time_slice(tmp_path: Path) -> None:
    (tmp_path / "PAUSE").touch()
    Clock(minutes=0, pause_file=tmp_path / "PAUSE").wait_while_paused()


def test_the_clock_can_be_stopped() -> None:
    clock = Clock()
    assert not clock.expired()
    clock.stop()
    assert clock.expired()


def test_the_learning_rate_warms_up_and_decays() -> None:
    rates = [learning_rate(step, 1000, 1.0) for step in range(1000)]
    assert rates[0] < 0.02
    assert max(rates) > 0.9
    assert all(later <= earlier for earlier, later in itertools.pairwise(rates[100:]))
    assert rates[-1] < 0.03


def test_latents_are_normalised_in_each_channel(tmp_path: Path) -> None:
    vae = make_store(tmp_path, Recipe.toy()).vae
    latents = torch.randn(2, 4, 8, 8)
    assert torch.allclose(from_unet_space(vae, to_unet_space(vae, latents)), latents, atol=1e-5)


def test_latents_are_encoded_once(tmp_path: Path) -> None:
    store = make_store(tmp_path, Recipe.toy())
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "latents").iterdir()}
    assert store.fill((8, 8), Clock())
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "latents").iterdir()} == written


def test_encoding_stops_when_the_time_is_up(tmp_path: Path) -> None:
    store = LatentStore(Recipe.toy(), new_vae(Recipe.toy()), tmp_path)
    assert not store.fill((8, 8), Clock(minutes=0))


def test_psnr_of_a_known_error() -> None:
    one = torch.zeros(1, 3, 8, 8)
    assert psnr(one, one + 0.2) == pytest.approx(20.0, abs=1e-3)


@pytest.mark.parametrize("size", [(16, 16), (32, 32), (40, 24)])
def test_the_loss_looks_harder_where_the_subject_stands(size: tuple[int, int]) -> None:
    weights = emphasis(size)
    assert weights.shape == size
    assert float(weights.mean()) == pytest.approx(1.0, abs=1e-5)
    assert weights[int(0.55 * size[0]), size[1] // 2] > 2 * weights[0, 0]
