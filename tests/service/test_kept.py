import gc
import weakref

from scheduler.messages import Finished
from service.generation import Event, Generation
from service.kept import MIB, Kept
from tests.service.harness import make_generation


class Clock:
    """Monotonic seconds that a test moves on."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Watcher:
    def put(self, event: Event) -> None:
        """Keeps nothing."""


def make_finished(one: str, *sizes: int) -> Generation:
    """With a picture of so many bytes each."""
    generation = make_generation(one, num_images=len(sizes))
    for image, size in zip(generation.images, sizes, strict=True):
        image.finished = Finished(one, 64, 64, "image/png", bytes(size), prompt_truncated=False, timings={})
    generation.status = "succeeded"
    return generation


def kept_ids(kept: Kept, *ids: str) -> list[str]:
    return [one for one in ids if kept.get(one)]


def test_a_generation_is_kept_for_its_minutes() -> None:
    clock = Clock()
    kept = Kept(minutes=10, mib=64, clock=clock)
    kept.add(make_finished("a", 0))
    clock.now = 300
    kept.add(make_finished("b", 0))
    clock.now = 599
    assert kept_ids(kept, "a", "b", "c") == ["a", "b"]
    clock.now = 600
    assert kept_ids(kept, "a", "b") == ["b"]


def test_the_oldest_go_first_when_there_are_too_many() -> None:
    kept = Kept(minutes=10, mib=2, clock=Clock())
    for one in ("a", "b", "c"):
        kept.add(make_finished(one, MIB * 9 // 10))
    assert kept_ids(kept, "a", "b", "c") == ["b", "c"]


def test_a_picture_that_alone_is_too_large_is_not_kept() -> None:
    kept = Kept(minutes=10, mib=1, clock=Clock())
    kept.add(make_finished("a", 2 * MIB))
    kept.add(make_finished("b", 0))
    assert kept_ids(kept, "a", "b") == ["b"]


def test_what_is_not_kept_leaves_memory_at_once() -> None:
    clock = Clock()
    kept = Kept(minutes=10, mib=64, clock=clock)
    generation, watcher = make_finished("a", 0), Watcher()
    generation.watchers.add(watcher)
    generation.publish("succeeded")
    kept.add(generation)
    held_by_it = weakref.ref(watcher)
    del generation, watcher
    gc.disable()
    try:
        assert held_by_it() is not None
        clock.now = 600
        kept.add(make_finished("b", 0))
        assert held_by_it() is None
    finally:
        gc.enable()


def test_all_pictures_of_a_generation_take_room() -> None:
    kept = Kept(minutes=10, mib=2, clock=Clock())
    kept.add(make_finished("a", MIB, MIB))
    assert kept_ids(kept, "a") == []
    kept.add(make_finished("b", MIB, MIB // 2))
    assert kept_ids(kept, "b") == ["b"]


def test_prompts_take_room_too() -> None:
    kept = Kept(minutes=10, mib=1, clock=Clock())
    ids = [str(number) for number in range(100)]
    for one in ids:
        kept.add(make_generation(one, prompt="\U0001f6f6" * 2000, negative_prompt="\u65e5" * 2000))
    assert len(kept_ids(kept, *ids)) <= MIB // (8000 + 4000)
