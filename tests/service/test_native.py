"""The native interface: records, events with ids, pictures, cancelling."""

import asyncio
import base64
import functools
import itertools
import json

import pytest

from scheduler.fake_engine import FAILING_PROMPT
from service.keys import CLIENT
from tests.service.harness import (
    FakeWorker,
    SentEvent,
    Service,
    body,
    eventually,
    image_bytes,
    next_event,
    params,
    parse_events,
    preview_bytes,
    running_service,
)


async def events_of(service: Service, generation_id: str, seen: str | None = None) -> list[SentEvent]:
    """All events until the end of the stream."""
    headers = {"Last-Event-ID": seen} if seen else {}
    answer = await service.http.get(f"/v1/generations/{generation_id}/events", headers=headers)
    assert answer.status == 200
    return parse_events(await answer.read())


async def create_running(service: Service) -> None:
    """Starts a generation whose step is held at the gate, so that all that come after it wait."""
    generation = service.generation((await service.create())["id"])
    await eventually(lambda: generation.started_at)


async def test_a_new_generation_is_answered_at_once(gated: Service) -> None:
    answer = await gated.http.post("/v1/generations", json=body())
    assert answer.status == 202
    record = await answer.json()
    url = f"/v1/generations/{record['id']}"
    assert answer.headers["Location"] == url
    assert len(record["id"]) >= 22  # 128 random bits
    assert record.pop("created_at") > 1.7e9
    assert record.pop("eta_seconds") > 0
    assert record == {
        "id": record["id"],
        "status": "queued",
        "step": 0,
        "total_steps": 4,
        "queue_position": 0,
        "started_at": None,
        "finished_at": None,
        "seed": 1,
        "width": 64,
        "height": 64,
        "prompt_truncated": False,
        "images": [],
        "error": None,
        "timings": {},
        "events_url": f"{url}/events",
    }


async def test_it_runs_to_its_end_with_nobody_watching(service: Service) -> None:
    record = await service.create()
    assert [event.name for event in await events_of(service, record["id"])][-1] == "succeeded"
    done = await service.show(record["id"])
    assert done["status"] == "succeeded"
    assert done["step"] == 4
    assert done["created_at"] <= done["started_at"] <= done["finished_at"]
    url = f"/v1/generations/{record['id']}/images/0"
    assert done["images"] == [{"url": url, "content_type": "image/jpeg", "width": 64, "height": 64, "seed": 1}]
    image = await service.http.get(url)
    assert (image.status, image.content_type) == (200, "image/jpeg")
    assert await image.read() == image_bytes(params())


async def test_the_bytes_of_the_event_stream(gated: Service) -> None:
    record = await gated.create()
    one = record.pop("id")
    record.pop("events_url")
    answer = await gated.http.get(f"/v1/generations/{one}/events")
    received = [await answer.content.readuntil(b"\n\n")]
    state = json.loads(received[0].split(b"data: ")[1])
    gated.worker.allow()
    while b"event: preview" not in received[-1]:
        received.append(await answer.content.readuntil(b"\n\n"))
    preview = {
        "id": one,
        "image_index": 0,
        "step": 1,
        "total_steps": 4,
        "width": 64,
        "height": 64,
        "content_type": "image/jpeg",
        "image": base64.b64encode(preview_bytes(params(), 1)).decode(),
    }
    assert state["id"] == one
    assert received[0].startswith(f"id: {one}.{1 if state['status'] == 'queued' else 2}\nevent: ".encode())
    text = json.dumps(preview, separators=(",", ":"))
    assert received[-1] == f"id: {one}.3\nevent: preview\ndata: {text}\n\n".encode()
    gated.worker.allow(3)
    last = parse_events(await answer.content.read())[-1]
    assert last.name == "succeeded"
    assert last.json == await gated.show(one)


async def test_a_failure_ends_the_stream_with_its_own_event(service: Service) -> None:
    record = await service.create(prompt=FAILING_PROMPT)
    last = (await events_of(service, record["id"]))[-1]
    assert last.name == "failed"
    error = {"code": "engine_error", "message": "the fake engine was asked to fail this request"}
    assert last.json["error"] == error
    assert (await service.http.get(f"/v1/generations/{record['id']}/images/0")).status == 404
    assert service.metric("requests_total", outcome="error") == 1


async def test_delete_cancels_within_a_step_and_may_be_repeated(gated: Service) -> None:
    record = await gated.create(num_inference_steps=50)
    answer = await gated.http.get(f"/v1/generations/{record['id']}/events")
    gated.worker.allow()
    while (await next_event(answer)).name != "preview":
        pass
    deleted = await gated.http.delete(f"/v1/generations/{record['id']}")
    assert (deleted.status, (await deleted.json())["status"]) == (200, "running")
    gated.worker.allow()
    last = parse_events(await answer.content.read())[-1]
    assert last.name == "cancelled"
    assert gated.metric("steps_total") <= 2
    again = await gated.http.delete(f"/v1/generations/{record['id']}")
    assert (again.status, (await again.json())["status"]) == (200, "cancelled")
    assert gated.metric("requests_cancelled_total", cause="api", phase="running") == 1


async def test_delete_of_a_finished_one_changes_nothing(service: Service) -> None:
    record = await service.create()
    await events_of(service, record["id"])
    answer = await service.http.delete(f"/v1/generations/{record['id']}")
    assert (await answer.json())["status"] == "succeeded"


async def test_a_watcher_that_leaves_ends_nothing(gated: Service) -> None:
    record = await gated.create()
    generation = gated.generation(record["id"])
    async with gated.http.get(f"/v1/generations/{record['id']}/events") as answer:
        await next_event(answer)
    await eventually(lambda: not generation.watchers)
    gated.worker.allow(4)
    await eventually(lambda: generation.status == "succeeded")


async def test_a_late_watcher_gets_the_newest_state_and_preview_at_once(gated: Service) -> None:
    record = await gated.create()
    generation = gated.generation(record["id"])
    gated.worker.allow(3)
    await eventually(lambda: generation.step == 3)
    answers = [await gated.http.get(f"/v1/generations/{record['id']}/events") for _ in range(3)]
    for answer in answers:
        state, preview = await next_event(answer), await next_event(answer)
        assert (state.name, state.json["status"], state.json["step"]) == ("started", "running", 3)
        assert (preview.name, preview.json["step"]) == ("preview", 3)
    gated.worker.allow()
    for answer in answers:
        assert parse_events(await answer.content.read())[-1].name == "succeeded"


async def test_resume_sends_what_was_missed_and_no_more(gated: Service) -> None:
    record = await gated.create()
    one = record["id"]
    generation = gated.generation(one)
    gated.worker.allow(3)
    await eventually(lambda: generation.step == 3)
    expected: list[tuple[str, list[str]]] = [
        (f"{one}.0", ["queued", "started", "preview"]),
        (f"{one}.1", ["started", "preview"]),
        (f"{one}.2", ["preview"]),
    ]
    answers = [
        await gated.http.get(f"/v1/generations/{one}/events", headers={"Last-Event-ID": seen}) for seen, _ in expected
    ]
    for answer, (_, names) in zip(answers, expected, strict=True):
        assert [(await next_event(answer)).name for _ in names] == names
        answer.close()
    gated.worker.allow()
    await eventually(lambda: generation.is_over)
    assert [event.name for event in await events_of(gated, one, f"{one}.1")] == ["started", "succeeded"]


@pytest.mark.parametrize("seen", ["{one}.99", "other.1", "nonsense"])
async def test_who_has_seen_the_end_or_shows_a_strange_id_is_told_to_stop(service: Service, seen: str) -> None:
    one = (await service.create())["id"]
    await events_of(service, one)
    headers = {"Last-Event-ID": seen.format(one=one)}
    assert (await service.http.get(f"/v1/generations/{one}/events", headers=headers)).status == 204


@pytest.mark.parametrize("path", ["", "/events", "/images/0"])
async def test_an_unknown_generation(service: Service, path: str) -> None:
    answer = await service.http.get("/v1/generations/unknown" + path)
    assert answer.status == 404
    assert (await answer.json())["error"]["code"] == "not_found"


async def test_an_unknown_generation_that_was_seen_before_is_told_to_stop(service: Service) -> None:
    answer = await service.http.get("/v1/generations/unknown/events", headers={"Last-Event-ID": "unknown.4"})
    assert answer.status == 204


async def test_images_are_numbered_from_zero(service: Service) -> None:
    one = (await service.create())["id"]
    await events_of(service, one)
    assert (await service.http.get(f"/v1/generations/{one}/images/1")).status == 404


async def test_several_images_have_seeds_of_their_own_and_are_fetched_one_by_one(service: Service) -> None:
    record = await service.create(num_images=3, seed=2**32 - 2)
    assert (record["step"], record["total_steps"], record["seed"]) == (0, 4, 2**32 - 2)
    last = (await events_of(service, record["id"]))[-1].json
    seeds = [2**32 - 2, 2**32 - 1, 0]
    assert [image["seed"] for image in last["images"]] == seeds
    for image, seed in zip(last["images"], seeds, strict=True):
        picture = await (await service.http.get(image["url"])).read()
        assert picture == image_bytes(params(seed=seed))
    assert (await service.http.get(f"/v1/generations/{record['id']}/images/3")).status == 404
    assert service.metric("requests_total", outcome="ok") == 1
    assert service.metric("images_total") == 3


async def test_previews_of_several_images_are_kept_side_by_side(gated: Service) -> None:
    record = await gated.create(num_images=2)
    generation = gated.generation(record["id"])
    gated.worker.allow(3)
    await eventually(lambda: generation.step == 3)
    answer = await gated.http.get(f"/v1/generations/{record['id']}/events")
    state, *previews = [await next_event(answer) for _ in range(3)]
    assert (state.name, state.json["step"]) == ("started", 3)
    assert sorted((preview.json["image_index"], preview.json["step"]) for preview in previews) == [(0, 3), (1, 3)]


async def test_a_generation_runs_when_its_first_image_does_and_is_as_far_as_its_last() -> None:
    async with running_service(gated=True, max_rows=2) as service:
        record = await service.create(num_images=2)
        generation = service.generation(record["id"])
        service.worker.allow(3)
        await eventually(lambda: generation.images[0].step == 3)
        running = await service.show(record["id"])
        assert (running["status"], running["step"], running["images"]) == ("running", 0, [])
        service.worker.allow(5)
        done = (await events_of(service, record["id"]))[-1].json
        assert (done["status"], done["step"], len(done["images"])) == ("succeeded", 4, 2)
        slower = generation.images[1].finished
        assert slower is not None
        assert done["timings"] == slower.timings


async def test_cancelling_cancels_all_images(gated: Service) -> None:
    record = await gated.create(num_images=3, num_inference_steps=50)
    generation = gated.generation(record["id"])
    gated.worker.allow()
    await eventually(lambda: generation.step == 1)
    await gated.http.delete(f"/v1/generations/{record['id']}")
    gated.worker.allow()
    await eventually(lambda: generation.is_over)
    await eventually(lambda: not gated.worker.engine.known)
    assert (await gated.show(record["id"]))["status"] == "cancelled"
    assert gated.metric("requests_total", outcome="cancelled") == 1


async def test_pictures_of_a_set_that_was_cancelled_are_not_kept() -> None:
    async with running_service(gated=True, max_rows=2) as service:
        record = await service.create(num_images=2)
        generation = service.generation(record["id"])
        await service.step_until(lambda: generation.images[0].finished)
        await service.http.delete(f"/v1/generations/{record['id']}")
        await service.step_until(lambda: generation.is_over)
        assert (await service.show(record["id"]))["status"] == "cancelled"
        assert (await service.http.get(f"/v1/generations/{record['id']}/images/0")).status == 404
        assert generation.images[0].finished is None


async def test_one_image_that_fails_ends_the_others(gated: Service) -> None:
    other = FakeWorker(gated.app[CLIENT], gated=True, name="worker-1")
    await other.start()
    await other.load()
    record = await gated.create(num_images=2, num_inference_steps=50)  # one for each worker
    generation = gated.generation(record["id"])
    gated.worker.allow()
    other.allow()
    await eventually(lambda: generation.step == 1)
    await other.die()
    gated.worker.allow()
    last = (await events_of(gated, record["id"]))[-1]
    assert (last.name, last.json["error"]["code"], last.json["images"]) == ("failed", "worker_lost", [])
    await eventually(lambda: not gated.worker.engine.known)
    assert gated.metric("requests_total", outcome="error") == 1


@pytest.mark.parametrize(
    ("server", "asked", "deadline"), [(600, 700_000, 600.0), (600, 2500, 2.5), (0, 2500, 2.5), (0, None, None)]
)
async def test_a_request_may_have_an_earlier_deadline_than_the_servers(
    server: float, asked: int | None, deadline: float | None
) -> None:
    async with running_service(deadline=server) as service:
        record = await service.create(deadline_ms=asked)
        assert service.generation(record["id"]).params.deadline == deadline


async def test_what_is_late_fails_with_a_reason(gated: Service) -> None:
    record = await gated.create(deadline_ms=1)
    generation = gated.generation(record["id"])
    await gated.step_until(lambda: generation.is_over)
    last = (await events_of(gated, record["id"]))[-1]
    assert (last.name, last.json["error"]["code"]) == ("failed", "deadline")
    assert gated.metric("requests_total", outcome="deadline") == 1


async def test_many_generations_on_one_stream(service: Service) -> None:
    ids = [(await service.create(seed=seed))["id"] for seed in range(8)]
    answer = await service.http.get("/v1/events", params={"ids": ",".join([*ids, "unknown"])})
    events = parse_events(await answer.read())
    ends = [event for event in events if event.name == "succeeded"]
    assert {event.json["id"] for event in ends} == set(ids)
    for one in ids:
        numbers = [int(str(e.id).rpartition(".")[2]) for e in events if str(e.id).startswith(one)]
        assert numbers == sorted(set(numbers))


async def test_a_reconnect_to_many_gets_the_newest_state_of_each(gated: Service) -> None:
    ids = [(await gated.create(seed=seed, num_inference_steps=1))["id"] for seed in range(2)]
    await gated.http.delete(f"/v1/generations/{ids[0]}")
    cancelled = gated.generation(ids[0])
    gated.worker.allow()
    await eventually(lambda: cancelled.is_over)
    answer = await gated.http.get("/v1/events", params={"ids": ",".join(ids)}, headers={"Last-Event-ID": f"{ids[1]}.1"})
    assert (await next_event(answer)).json["id"] == ids[0]
    gated.worker.allow(2)
    events = parse_events(await answer.read())
    assert events[-1].json["id"] == ids[1]


async def test_who_has_seen_the_end_of_all_is_told_to_stop(service: Service) -> None:
    ids = [(await service.create(seed=seed))["id"] for seed in range(3)]
    query = {"ids": ",".join(ids)}
    events = parse_events(await (await service.http.get("/v1/events", params=query)).read())
    seen = {"Last-Event-ID": str(events[-1].id)}
    assert (await service.http.get("/v1/events", params=query, headers=seen)).status == 204
    earlier = {"Last-Event-ID": next(str(event.id) for event in events if event.name != "succeeded")}
    again = parse_events(await (await service.http.get("/v1/events", params=query, headers=earlier)).read())
    assert {event.json["id"] for event in again} == set(ids)


async def test_one_that_is_forgotten_while_another_is_looked_for_is_passed_over(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [(await service.create(seed=seed))["id"] for seed in range(2)]
    await eventually(lambda: all(service.generation(one).is_over for one in ids))
    kept = service.generations._kept
    now = kept._clock()
    times = itertools.chain([now], itertools.repeat(now + 3600))
    monkeypatch.setattr(kept, "_clock", lambda: next(times))
    assert (await service.http.get("/v1/events", params={"ids": ",".join(ids)})).status == 404


@pytest.mark.parametrize(("query", "status"), [({}, 422), ({"ids": ","}, 422), ({"ids": "a,b"}, 404)])
async def test_many_events_of_nothing(service: Service, query: dict[str, str], status: int) -> None:
    assert (await service.http.get("/v1/events", params=query)).status == status


async def test_queue_positions_and_times() -> None:
    async with running_service(gated=True, max_rows=2) as service:  # one at a time
        await create_running(service)
        created = [await service.create() for _ in range(3)]
        assert [record["queue_position"] for record in created] == [0, 1, 2]
        waiting = [service.generation(record["id"]) for record in created]
        etas = [service.generations.record(generation).eta_seconds or 0 for generation in waiting]
        assert 0 < etas[0] < etas[1] < etas[2]


async def test_finished_ones_are_forgotten_when_their_pictures_take_too_much() -> None:
    async with running_service(keep_mib=0) as service:
        record = await service.create()
        await eventually(lambda: service.metric("requests_total", outcome="ok") == 1)
        assert (await service.http.get(f"/v1/generations/{record['id']}")).status == 404


async def test_a_full_queue_turns_away_and_says_when_to_come_back() -> None:
    async with running_service(gated=True, max_queue_cost=0.5) as service:
        await create_running(service)
        await service.create()  # costs 0.5: 4 steps of 2 rows, on a sixteenth of the model's own size
        answer = await service.http.post("/v1/generations", json=body())
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) >= 1
        assert (await answer.json())["error"]["code"] == "queue_full"
        assert service.metric("requests_rejected_total", reason="queue_full") == 1
        assert service.metric("requests_total", outcome="rejected") == 1


async def test_when_to_come_back_follows_from_the_workers_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def seconds_for(cost: float, workers: list[str]) -> float:
        asked.append(workers)
        return cost

    async with running_service(gated=True, max_queue_cost=0.5) as service:
        other = FakeWorker(service.app[CLIENT], gated=True, name="worker-1")
        await other.start()
        await other.load()
        await eventually(lambda: len(service.app[CLIENT].ready_workers()) == 2)
        await other.die()
        await eventually(lambda: len(service.app[CLIENT].ready_workers()) == 1)
        monkeypatch.setattr(service.generations._estimates, "seconds_for", seconds_for)
        await create_running(service)
        await service.create()
        assert (await service.http.post("/v1/generations", json=body())).status == 503
        assert asked == [["worker-0"]]


async def test_sizes_that_take_turns_do_not_get_round_a_full_queue() -> None:
    """Each size has a group of its own, which runs beside all others, so nothing waits; and yet there is a limit."""
    async with running_service(gated=True, max_queue_cost=1000) as service:
        statuses = []
        for side in range(64, 64 + 8 * 60, 8):
            long = body(width=side, height=side, num_inference_steps=50, preview_every=0)
            answer = await service.http.post("/v1/generations", json=long)
            statuses.append(answer.status)
            if answer.status == 202:
                generation = service.generation((await answer.json())["id"])
                await service.step_until(functools.partial(getattr, generation, "started_at"))
        assert 16 < statuses.count(202) < 60


async def test_a_worker_that_dies_fails_its_generations_and_turns_new_ones_away(gated: Service) -> None:
    record = await gated.create()
    watching = asyncio.create_task(events_of(gated, record["id"]))
    await gated.worker.die()
    last = (await watching)[-1]
    assert (last.name, last.json["error"]["code"]) == ("failed", "worker_lost")
    answer = await gated.http.post("/v1/generations", json=body())
    assert answer.status == 503
    assert "Retry-After" in answer.headers
