import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.messages import Preview
from service.generation import FINAL, Event, EventName
from service.streams import KEEP_ALIVE, KeepAlive, Mailbox, Ticker
from tests.service.harness import make_generation


class Count:
    def __init__(self) -> None:
        self.value = 0

    def inc(self) -> None:
        self.value += 1


class Box:
    """A mailbox, its counters and generations."""

    def __init__(self, *ids: str, num_images: int = 1, preview_steps: tuple[int, ...] | None = None) -> None:
        self.coalesced, self.gone = Count(), Count()
        self.mailbox = Mailbox(set(ids), self.coalesced, self.gone)
        self._generations = {one: make_generation(one, num_images, preview_steps=preview_steps) for one in ids}
        self._number = 0

    def put(self, one: str, name: EventName, image_index: int = 0) -> None:
        self._number += 1
        preview = Preview(one, self._number, 50, 64, 64, "image/jpeg", b"") if name == "preview" else None
        self.mailbox.put(Event(self._generations[one], self._number, name, preview, image_index))

    async def take(self, count: int) -> list[str]:
        """Ids of the next so many events."""
        taken: list[str] = []
        async for item in self.mailbox:
            assert isinstance(item, Event)
            taken.append(item.id)
            if len(taken) == count:
                break
        return taken

    async def rest(self) -> list[str]:
        return [item.id async for item in self.mailbox if isinstance(item, Event)]


async def test_events_come_in_order_and_iterating_ends_with_the_last() -> None:
    box = Box("a")
    for name in ("queued", "started", "preview"):
        box.put("a", name)
    assert await box.take(3) == ["a.1", "a.2", "a.3"]
    box.put("a", "succeeded")
    assert await box.rest() == ["a.4"]


async def test_a_newer_preview_replaces_one_that_waits_and_nothing_else() -> None:
    box = Box("a")
    box.put("a", "queued")
    for _ in range(3):
        box.put("a", "preview")
    assert await box.take(2) == ["a.1", "a.4"]
    assert box.coalesced.value == 2


@pytest.mark.parametrize("end", sorted(FINAL))
async def test_no_preview_follows_the_end(end: EventName) -> None:
    box = Box("a")
    box.put("a", "preview")
    box.put("a", end)
    assert await box.rest() == ["a.2"]
    assert box.coalesced.value == 1


async def test_previews_that_are_kept_all_come() -> None:
    box = Box("a", preview_steps=(1, 2, 3))
    for name in ("queued", "preview", "preview", "preview", "succeeded"):
        box.put("a", name)
    assert await box.rest() == ["a.1", "a.2", "a.3", "a.4", "a.5"]
    assert box.coalesced.value == 0


async def test_a_slow_reader_gets_a_preview_of_each_generation_in_turn() -> None:
    box = Box("a", "b", "c")
    taken = []
    for _ in range(3):
        for one in ("a", "b", "c"):
            box.put(one, "preview")
        taken += await box.take(1)
    assert [one.partition(".")[0] for one in taken] == ["a", "b", "c"]


async def test_a_slow_reader_gets_a_preview_of_each_image_in_turn() -> None:
    box = Box("a", num_images=3)
    taken = []
    for _ in range(6):
        for image_index in range(3):
            box.put("a", "preview", image_index)
        taken += await box.take(1)
    # Of the first image, of the second, of the third, and again.
    assert taken == ["a.1", "a.5", "a.9", "a.10", "a.14", "a.18"]
    assert box.coalesced.value == 18 - 6


async def test_a_preview_that_was_overtaken_is_dropped() -> None:
    """Or ids would fall, and with them what a client shows when it comes back."""
    box = Box("a", "b", num_images=3)
    for one, image_index in (("a", 0), ("a", 1), ("b", 0), ("a", 2), ("a", 0)):
        box.put(one, "preview", image_index)
    box.put("b", "cancelled")
    assert await box.take(1) == ["a.5"]
    box.put("a", "preview", 1)
    box.put("a", "failed")
    assert await box.rest() == ["b.6", "a.8"]
    assert box.coalesced.value == 5


@given(course=st.lists(st.sampled_from([0, 1, 2, None]), max_size=60))
def test_the_numbers_of_a_generation_only_rise(course: list[int | None]) -> None:
    """Whatever comes, of any image, and whenever the reader takes one (None); at the end it takes all."""
    box = Box("a", num_images=3)
    taken: list[Event | KeepAlive] = []
    for image_index in course:
        if image_index is None:
            taken.append(box.mailbox.take())
        else:
            box.put("a", "preview", image_index)
    taken += iter(box.mailbox.take, KEEP_ALIVE)
    numbers = [item.number for item in taken if isinstance(item, Event)]
    assert numbers == sorted(set(numbers))
    assert len(numbers) + box.coalesced.value == len(course) - course.count(None)


async def test_the_end_replaces_the_previews_of_all_images() -> None:
    box = Box("a", "b", num_images=2)
    for one in ("a", "b"):
        for image_index in range(2):
            box.put(one, "preview", image_index)
    box.put("a", "succeeded")
    box.put("b", "cancelled")
    assert await box.rest() == ["a.5", "b.6"]
    assert box.coalesced.value == 4


async def test_it_ends_only_when_all_generations_have() -> None:
    box = Box("a", "b")
    box.put("a", "failed")
    reading = asyncio.create_task(box.rest())
    for _ in range(3):
        await asyncio.sleep(0)
    assert not reading.done()
    box.put("b", "cancelled")
    assert await reading == ["a.1", "b.2"]


async def test_what_was_not_sent_is_counted_at_the_end() -> None:
    box = Box("a", "b")
    for one in ("a", "b"):
        box.put(one, "preview")
    box.mailbox.close()
    assert (box.gone.value, box.coalesced.value) == (2, 0)


async def test_keep_alives_come_only_when_there_is_nothing_else() -> None:
    box, ticker = Box("a"), Ticker(interval=15)
    ticker.add(box.mailbox)
    ticker.tick()
    box.put("a", "queued")
    items: list[Event | KeepAlive] = []
    async for item in box.mailbox:
        items.append(item)
        if item is KEEP_ALIVE:
            box.put("a", "succeeded")
    assert [item.name if isinstance(item, Event) else "-" for item in items] == ["queued", "-", "succeeded"]


async def test_a_closed_stream_is_not_kept_alive() -> None:
    box, ticker = Box("a"), Ticker(interval=15)
    ticker.add(box.mailbox)
    ticker.discard(box.mailbox)
    ticker.tick()
    box.put("a", "succeeded")
    assert [item async for item in box.mailbox if item is KEEP_ALIVE] == []
