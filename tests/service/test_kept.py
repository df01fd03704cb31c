from scheduler.messages import Finished
from service.generation import Generation
from service.kept import MIB, Kept
from tests.service.harness import params


class Clock:
    """Monotonic seconds that a test moves on."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def make_generation(one: str, num_bytes: int = 0) -> Generation:
    generation = Generation(one, params(), 1.0, None)
    generation.finished = Finished(one, 64, 64, "image/png", bytes(num_bytes), prompt_truncated=False, timings={})
    return generation


def kept_ids(kept: Kept, *ids: str) -> list[str]:
    return [one for one in ids if kept.get(one)]


def test_a_generation_is_kept_for_its_minutes() -> None:
    clock = Clock()
    kept = Kept(minutes=10, mib=64, clock=clock)
    kept.add(make_generation("a"))
    clock.now = 300
    kept.add(make_generation("b"))
    clock.now = 599
    assert kept_ids(kept, "a", "b", "c") == ["a", "b"]
    clock.now = 600
    assert kept_ids(kept, "a", "b") == ["b"]


def test_the_oldest_go_first_when_there_are_too_many() -> None:
    kept = Kept(minutes=10, mib=2, clock=Clock())
    for one in ("a", "b", "c"):
        kept.add(make_generation(one, MIB * 9 // 10))
    assert kept_ids(kept, "a", "b", "c") == ["b", "c"]


def test_a_picture_that_alone_is_too_large_is_not_kept() -> None:
    kept = Kept(minutes=10, mib=1, clock=Clock())
    kept.add(make_generation("a", 2 * MIB))
    kept.add(make_generation("b"))
    assert kept_ids(kept, "a", "b") == ["b"]


def test_prompts_take_room_too() -> None:
    kept = Kept(minutes=10, mib=1, clock=Clock())
    ids = [str(number) for number in range(100)]
    for one in ids:
        kept.add(Generation(one, params(prompt="\U0001f6f6" * 2000, negative_prompt="\u65e5" * 2000), 1.0, None))
    assert len(kept_ids(kept, *ids)) <= MIB // (8000 + 4000)
