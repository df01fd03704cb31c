from scheduler.messages import Finished, Preview
from service.generation import Event
from service.records import GenerationRecord
from tests.service.harness import make_generation


def make_preview(step: int) -> Preview:
    return Preview("one", step, 4, 64, 64, "image/jpeg", b"")


def make_finished(total: float) -> Finished:
    return Finished("one", 64, 64, "image/png", b"", prompt_truncated=False, timings={"total": total})


def make_record() -> GenerationRecord:
    return GenerationRecord(
        id="one",
        status="running",
        step=1,
        total_steps=4,
        queue_position=None,
        eta_seconds=None,
        created_at=0.0,
        started_at=1.0,
        finished_at=None,
        seed=1,
        width=64,
        height=64,
        prompt_truncated=False,
        images=[],
        error=None,
        timings={},
    )


def test_of_the_previews_only_the_newest_is_kept() -> None:
    generation = make_generation("one")
    generation.publish("queued")
    generation.publish("started")
    generation.publish("preview", preview=make_preview(1))
    generation.publish("preview", preview=make_preview(3))
    assert [(event.number, event.name) for event in generation.events_after(0)] == [
        (1, "queued"),
        (2, "started"),
        (4, "preview"),
    ]
    assert [event.number for event in generation.events_after(2)] == [4]
    assert generation.events_after(4) == []


def test_the_end_replaces_the_preview_and_takes_two_numbers() -> None:
    generation = make_generation("one")
    generation.publish("preview", preview=make_preview(1))
    assert generation.final_number is None
    generation.status = "succeeded"
    generation.publish("succeeded")
    assert [(event.id, event.name) for event in generation.events_after(0)] == [("one.3", "succeeded")]
    assert generation.final_number == 3


def test_the_newest_state_is_told_as_it_is_now() -> None:
    generation, record = make_generation("one"), make_record()
    generation.publish("queued")
    generation.publish("started")
    generation.publish("preview", preview=make_preview(1))
    state, preview = generation.newest_events(record)
    assert (state.number, state.name, state.record) == (2, "started", record)
    assert preview.name == "preview"


def test_watchers_get_every_event() -> None:
    class Notes:
        def __init__(self) -> None:
            self.events: list[Event] = []

        def put(self, event: Event) -> None:
            self.events.append(event)

    generation, notes = make_generation("one"), Notes()
    generation.watchers.add(notes)
    generation.publish("queued")
    generation.publish("started")
    assert [event.name for event in notes.events] == ["queued", "started"]


def test_an_event_is_encoded_once_for_each_format() -> None:
    calls = []

    def encode(event: Event) -> bytes:
        calls.append(event)
        return event.id.encode()

    event = Event(make_generation("one"), 1, "queued")
    assert [bytes(event.frame(encode).text) for _ in range(3)] == [b"one.1"] * 3
    assert bytes(event.frame(lambda event: event.name.encode()).text) == b"queued"
    assert len(calls) == 1
    event.drop_frames()
    event.frame(encode)
    assert len(calls) == 2


def test_of_each_image_the_newest_preview_is_kept() -> None:
    generation = make_generation("one", num_images=2)
    for image_index, step in ((0, 1), (1, 1), (0, 3)):
        generation.publish("preview", preview=make_preview(step), image_index=image_index)
    assert [(event.number, event.image_index) for event in generation.events_after(0)] == [(2, 1), (3, 0)]


def test_the_end_takes_a_number_for_each_image_and_one_more() -> None:
    generation = make_generation("one", num_images=3)
    generation.publish("queued")
    generation.status = "failed"
    generation.publish("failed")
    assert generation.final_number == 1 + 3 + 1


def test_it_is_as_far_as_the_image_that_is_furthest_behind() -> None:
    generation = make_generation("one", num_images=2)
    generation.images[0].step = 3
    assert generation.step == 0
    generation.images[1].step = 1
    assert generation.step == 1


def test_the_work_that_is_left() -> None:
    """Four steps of two rows for each image."""
    generation = make_generation("one", num_images=2)
    assert (generation.row_steps_left, generation.num_rows_left) == (16, 4)
    generation.images[0].step = 3
    assert (generation.row_steps_left, generation.num_rows_left) == (2 + 8, 4)
    generation.images[0].step, generation.images[0].finished = 4, make_finished(total=1.0)
    assert (generation.row_steps_left, generation.num_rows_left) == (8, 2)


def test_its_cost_is_that_of_all_images() -> None:
    assert make_generation("one", num_images=3).cost == 24.0


def test_there_are_pictures_only_when_there_are_all_of_them() -> None:
    generation = make_generation("one", num_images=2)
    generation.images[0].finished = make_finished(total=2.0)
    assert (generation.pictures, generation.timings) == ([], {})
    generation.images[1].finished = make_finished(total=1.0)
    generation.status = "succeeded"
    assert [picture.timings["total"] for picture in generation.pictures] == [2.0, 1.0]
    assert generation.timings == {"total": 2.0}
