import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest

from scheduler import outbox, wire
from scheduler.engine import Pixels
from scheduler.images import EncodedImage
from scheduler.messages import Cancelled, Failed, Finished, Heartbeat, Preview, Report, Started, StepStats
from scheduler.outbox import FinalPicture, Outbox, PreviewPicture
from scheduler.request import GenerateParams, Request
from tests.scheduler.harness import TIMEOUT, make_params

NUM_THREADS = 2


class Rig:
    def __init__(self, sender: Outbox, reader: asyncio.StreamReader) -> None:
        self.outbox = sender
        self.reader = reader

    async def read(self) -> Report | None:
        async with asyncio.timeout(TIMEOUT):
            return await wire.read(self.reader, wire.REPORTS)

    async def read_to_the_end(self) -> list[Report]:
        self.outbox.close()
        reports = []
        while (report := await self.read()) is not None:
            reports.append(report)
        return reports


@asynccontextmanager
async def open_outbox() -> AsyncIterator[Rig]:
    ours, theirs = socket.socketpair()
    _, writer = await asyncio.open_connection(sock=theirs)
    reader, other_writer = await asyncio.open_connection(sock=ours)
    sender = Outbox(writer, NUM_THREADS)
    sending = asyncio.create_task(sender.send())
    try:
        yield Rig(sender, reader)
    finally:
        other_writer.close()
        sender.close()
        async with asyncio.timeout(TIMEOUT):
            await sending


class Encoder:
    """Stands in for the image encoder; holds every picture back until `open` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.began = threading.Semaphore(0)
        monkeypatch.setattr(outbox, "encode_preview", self.encode)
        monkeypatch.setattr(outbox, "encode_image", self.encode)

    def encode(self, pixels: Pixels, _: GenerateParams) -> EncodedImage:
        self.began.release()
        if not self.open.wait(TIMEOUT):
            raise TimeoutError
        return EncodedImage(8, 8, "image/jpeg", bytes([pixels[0, 0, 0]]))

    async def wait_until_busy(self, pictures: int = 1) -> None:
        for _ in range(pictures):
            assert await asyncio.to_thread(self.began.acquire, timeout=TIMEOUT)


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> Encoder:
    return Encoder(monkeypatch)


def make_request(request_id: str = "a") -> Request:
    return Request(request_id, make_params(num_steps=50))


def preview(request: Request, step: int) -> PreviewPicture:
    return PreviewPicture(request, np.full((8, 8, 3), step, dtype=np.uint8), step)


def image(request: Request) -> FinalPicture:
    return FinalPicture(request, np.full((8, 8, 3), 255, dtype=np.uint8), prompt_truncated=True, denoised_at=0.0)


def make_stats() -> StepStats:
    numbers = dict.fromkeys(set(StepStats.__struct_fields__) - {"stages"}, 0)
    return StepStats(**numbers, stages={"unet": 1.0})


def steps_of(reports: Sequence[Report]) -> list[int]:
    return [report.step for report in reports if isinstance(report, Preview)]


async def test_a_request_is_told_in_order() -> None:
    async with open_outbox() as rig:
        request = make_request()
        rig.outbox.emit([Started("a"), preview(request, 1)])
        assert await rig.read() == Started("a")
        first = await rig.read()
        assert isinstance(first, Preview)
        assert (first.step, first.total_steps, first.width, first.content_type) == (1, 50, 8, "image/jpeg")
        rig.outbox.emit([image(request)])
        last = await rig.read()
        assert isinstance(last, Finished)
        assert last.prompt_truncated
        assert set(last.timings) == {"queue", "denoise", "encode", "total"}


async def test_a_newer_preview_replaces_one_that_waits_for_the_encoder(encoder: Encoder) -> None:
    async with open_outbox() as rig:
        request = make_request()
        rig.outbox.emit([preview(request, 1)])
        await encoder.wait_until_busy()
        rig.outbox.emit([preview(request, 2), preview(request, 3), preview(request, 4)])
        rig.outbox.emit([make_stats()])
        stats = await rig.read()
        assert isinstance(stats, StepStats)
        assert stats.previews_coalesced == 2
        encoder.open.set()
        reports = await rig.read_to_the_end()
        assert steps_of(reports)[-1] == 4
        assert not {2, 3} & set(steps_of(reports))


async def test_a_request_may_keep_all_of_its_previews(encoder: Encoder) -> None:
    async with open_outbox() as rig:
        request = Request("a", make_params(num_steps=50, preview_steps=(1, 2, 3)))
        rig.outbox.emit([Started("a"), preview(request, 1)])
        await encoder.wait_until_busy()
        rig.outbox.emit([preview(request, 2), preview(request, 3), image(request)])
        rig.outbox.emit([make_stats()])
        encoder.open.set()
        reports = await rig.read_to_the_end()
        stats = next(report for report in reports if isinstance(report, StepStats))
        assert stats.previews_coalesced == 0
        reports.remove(stats)
        assert [type(report) for report in reports] == [Started, Preview, Preview, Preview, Finished]
        assert steps_of(reports) == [1, 2, 3]


async def test_each_request_has_a_slot_of_its_own(encoder: Encoder) -> None:
    async with open_outbox() as rig:
        requests = [make_request(str(index)) for index in range(5)]
        rig.outbox.emit([preview(request, index) for index, request in enumerate(requests)])
        await encoder.wait_until_busy(NUM_THREADS)
        encoder.open.set()
        reports = await rig.read_to_the_end()
        assert sorted(steps_of(reports)) == [0, 1, 2, 3, 4]
        assert all(isinstance(report, Preview) and report.data == bytes([report.step]) for report in reports)


@pytest.mark.parametrize("ending", [Cancelled("a"), Failed("a", "engine_error", "no luck")])
async def test_no_preview_follows_an_ending(encoder: Encoder, ending: Cancelled | Failed) -> None:
    async with open_outbox() as rig:
        request = make_request()
        rig.outbox.emit([Started("a"), preview(request, 1)])
        await encoder.wait_until_busy()
        rig.outbox.emit([preview(request, 2)])
        rig.outbox.emit([ending])
        encoder.open.set()
        assert await rig.read_to_the_end() == [Started("a"), ending]


async def test_the_final_image_is_never_overtaken_by_a_preview(encoder: Encoder) -> None:
    async with open_outbox() as rig:
        request = make_request()
        rig.outbox.emit([preview(request, 1)])
        await encoder.wait_until_busy()
        rig.outbox.emit([preview(request, 2)])
        rig.outbox.emit([image(request)])
        encoder.open.set()
        reports = await rig.read_to_the_end()
        assert isinstance(reports[-1], Finished)
        assert reports[-1].data == b"\xff"
        assert steps_of(reports) in ([1], [])


async def test_the_pictures_of_a_request_are_encoded_one_after_another(encoder: Encoder) -> None:
    """Otherwise a small final image overtakes the preview before it."""
    async with open_outbox() as rig:
        request = make_request()
        rig.outbox.emit([preview(request, 1)])
        await encoder.wait_until_busy()
        rig.outbox.emit([image(request)])
        rig.outbox.emit([make_stats()])
        assert isinstance(await rig.read(), StepStats)
        assert not encoder.began.acquire(blocking=False)
        encoder.open.set()
        assert [type(report) for report in await rig.read_to_the_end()] == [Preview, Finished]


async def test_a_picture_that_cannot_be_encoded_ends_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(*_: object) -> EncodedImage:
        raise OSError("encoder error -2")

    monkeypatch.setattr(outbox, "encode_preview", encode)
    monkeypatch.setattr(outbox, "encode_image", encode)
    async with open_outbox() as rig:
        request = make_request()
        rig.outbox.emit([preview(request, 1)])
        rig.outbox.emit([image(request)])
        assert await rig.read_to_the_end() == [Failed("a", "encode_error", "OSError: encoder error -2")]


async def test_the_time_spent_encoding_is_told_with_the_next_step() -> None:
    async with open_outbox() as rig:
        rig.outbox.emit([preview(make_request(), 1)])
        assert isinstance(await rig.read(), Preview)
        rig.outbox.emit([make_stats()])
        stats = await rig.read()
        assert isinstance(stats, StepStats)
        assert stats.stages["unet"] == 1.0
        assert stats.stages["image_encode"] > 0


async def test_a_stalled_service_costs_one_preview_a_request_and_no_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = threading.Semaphore(0)

    def encode(*_: object) -> EncodedImage:
        encoded.release()
        return EncodedImage(8, 8, "image/jpeg", bytes(60_000))

    monkeypatch.setattr(outbox, "encode_preview", encode)
    async with open_outbox() as rig:
        requests = [make_request(str(index)) for index in range(4)]
        for step in range(1, 50):
            rig.outbox.emit([preview(request, step) for request in requests])
            for _ in requests:
                assert await asyncio.to_thread(encoded.acquire, timeout=TIMEOUT)
        rig.outbox.emit([Cancelled(request.id) for request in requests])
        reports = await rig.read_to_the_end()
    assert 1 <= len(steps_of(reports)) < 20  # what the socket held
    assert reports[-4:] == [Cancelled(request.id) for request in requests]


async def test_many_requests_from_another_thread() -> None:
    requests = [make_request(str(index)) for index in range(16)]

    def emit_all(sender: Outbox) -> None:
        sender.emit([Started(request.id) for request in requests])
        for step in range(1, 30):
            sender.emit([make_stats(), *(preview(request, step) for request in requests)])
        sender.emit([image(request) for request in requests])

    async with open_outbox() as rig:
        await asyncio.to_thread(emit_all, rig.outbox)
        reports = await rig.read_to_the_end()
    for request in requests:
        story = [r for r in reports if not isinstance(r, StepStats) and getattr(r, "request_id", "") == request.id]
        assert isinstance(story[0], Started)
        assert isinstance(story[-1], Finished)
        assert steps_of(story[1:-1]) == sorted(set(steps_of(story)))
        assert len(story) == 2 + len(steps_of(story))
    assert sum(isinstance(report, StepStats) for report in reports) == 29


async def test_a_lost_socket_ends_the_sending_quietly() -> None:
    async with open_outbox() as rig:
        rig.outbox._writer.transport.abort()
        rig.outbox.emit([Heartbeat(0, 0)])
        rig.outbox.emit([preview(make_request(), 1)])


def test_nobody_minds_an_event_loop_that_is_gone() -> None:
    async def make() -> Outbox:
        async with open_outbox() as rig:
            return rig.outbox

    asyncio.run(make()).emit([Heartbeat(0, 0)])
