"""One generation: what has become of it so far, the events that tell it, and who watches."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from scheduler.messages import Finished, Preview
from scheduler.request import GenerateParams
from service.frames import Frame
from service.records import ErrorRecord, GenerationRecord

FinalStatus = Literal["succeeded", "failed", "cancelled"]
Status = Literal["queued", "running"] | FinalStatus
EventName = Literal["queued", "started", "preview"] | FinalStatus
CancelCause = Literal["disconnect", "api", "shutdown"]
Encoder = Callable[["Event"], bytes]
"""Event -> its bytes in one wire format; empty where that format has nothing to say."""

FINAL = frozenset({"succeeded", "failed", "cancelled"})

_UNIX_TIME_AT_ZERO = time.time() - time.monotonic()


def now() -> float:
    """Unix seconds by a clock that never goes back, so that differences are durations."""
    return _UNIX_TIME_AT_ZERO + time.monotonic()


@dataclass(slots=True, eq=False)
class Event:
    """Something that happened to a generation. The numbers of one generation only rise.

    A preview event has `preview`, which is of the image with `image_index`; any other has `record`, the generation as
    it then was.
    """

    generation: "Generation"
    number: int
    name: EventName
    preview: Preview | None = None
    image_index: int = 0
    record: GenerationRecord | None = None
    _frames: dict[Encoder, Frame] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.generation.id}.{self.number}"

    @property
    def is_final(self) -> bool:
        return self.name in FINAL

    def frame(self, encode: Encoder) -> Frame:
        """The event in one wire format: encoded once, however many watch."""
        frame = self._frames.get(encode)
        if frame is None:
            frame = self._frames[encode] = Frame(encode(self))
        return frame

    def drop_frames(self) -> None:
        self._frames.clear()


class Watcher(Protocol):
    """Gets the events of what it watches; must return at once."""

    def put(self, event: Event) -> None: ...


@dataclass(slots=True, eq=False)
class Image:
    """One picture of a generation: a request of its own in a worker. Times in Unix seconds."""

    request_id: str
    index: int
    params: GenerateParams
    cost: float

    step: int = 0
    progressed_at: float | None = None  # when it started, or had its newest preview
    finished: Finished | None = None

    @property
    def row_steps_left(self) -> int:
        """One for each UNet row of each step."""
        return self.params.num_rows * (self.params.num_steps - self.step)


@dataclass(slots=True, eq=False, weakref_slot=True)
class Generation:
    """What is known of one generation; written by `Generations` and its `UnderWay`. Times in Unix seconds.

    `grace` is how many seconds it goes on without a watcher; None: to its end. `owner` is the name of the API key that
    it was asked for with, the only one to watch or cancel it; None where the service needs none.
    """

    id: str
    images: Sequence[Image]
    grace: float | None
    owner: str | None = None

    status: Status = "queued"
    created_at: float = field(default_factory=now)
    started_at: float | None = None
    finished_at: float | None = None
    error: ErrorRecord | None = None
    cancel_cause: CancelCause | None = None

    watchers: set[Watcher] = field(default_factory=set)
    grace_timer: asyncio.TimerHandle | None = None
    _events: list[Event] = field(default_factory=list)
    _last_number: int = 0

    @property
    def params(self) -> GenerateParams:
        """Those of its first image; the others differ in the seed alone."""
        return self.images[0].params

    @property
    def step(self) -> int:
        """Completed steps of the image that is furthest behind."""
        return min(image.step for image in self.images)

    @property
    def pictures(self) -> Sequence[Finished]:
        """All of them in order, once it has succeeded; none before."""
        return [image.finished for image in self.images if image.finished] if self.status == "succeeded" else []

    @property
    def prompt_truncated(self) -> bool:
        """Whether the text encoders read only the beginning of its prompt; known once it has succeeded."""
        return any(picture.prompt_truncated for picture in self.pictures)

    @property
    def timings(self) -> dict[str, float]:
        """Seconds by phase, of the image that took longest; empty until it has succeeded."""
        slowest = max(self.pictures, key=lambda picture: picture.timings.get("total", 0.0), default=None)
        return slowest.timings if slowest else {}

    @property
    def cost(self) -> float:
        return sum(image.cost for image in self.images)

    @property
    def row_steps_left(self) -> int:
        return sum(image.row_steps_left for image in self.images)

    @property
    def num_rows_left(self) -> int:
        """UNet rows of its images that are not finished."""
        return sum(image.params.num_rows for image in self.images if not image.finished)

    @property
    def is_over(self) -> bool:
        return self.status in FINAL

    @property
    def is_ending(self) -> bool:
        """Whether it is over, or about to be."""
        return self.is_over or self.cancel_cause is not None

    @property
    def is_forgotten(self) -> bool:
        """Whether there is nothing to watch any more."""
        return not self._events

    @property
    def final_number(self) -> int | None:
        """The number of the event that ended it, if it has ended."""
        return self._last_number if self.is_over else None

    def publish(
        self,
        name: EventName,
        *,
        preview: Preview | None = None,
        image_index: int = 0,
        record: GenerationRecord | None = None,
    ) -> None:
        """Keeps the event for those who come later, and hands it to those who watch.

        Of each image's previews only the newest is kept, and none once the generation is over. The final event takes a
        number for each image and one more, because `GET /generate` tells it in as many blocks.
        """
        self._last_number += len(self.images) + 1 if name in FINAL else 1
        event = Event(self, self._last_number, name, preview, image_index, record)
        self._events = [other for other in self._events if not _replaces(event, other)]
        self._events.append(event)
        for watcher in self.watchers:
            watcher.put(event)

    def events_after(self, number: int) -> Sequence[Event]:
        return [event for event in self._events if event.number > number]

    def newest_events(self, record: GenerationRecord) -> Sequence[Event]:
        """Its state for a watcher that knows nothing: `record`, which is its state now, and the newest previews."""
        state = next(event for event in reversed(self._events) if event.preview is None)
        refreshed = Event(self, state.number, state.name, record=record)
        return [refreshed, *self.events_after(state.number)]

    def drop_frames(self) -> None:
        """Frees encoded events; whoever comes later has them encoded again."""
        for event in self._events:
            event.drop_frames()

    def forget_events(self) -> None:
        """For one that nobody will ask for again. They refer to it, so with them it would stay in memory, pictures and
        all, until the garbage collector comes by.
        """
        self._events.clear()


def _replaces(event: Event, earlier: Event) -> bool:
    """Whether nobody needs the earlier one any more."""
    if earlier.preview is None:
        return False
    return event.is_final or (event.preview is not None and event.image_index == earlier.image_index)
