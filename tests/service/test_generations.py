"""What no single route shows: shutting down, and one service under many clients."""

import asyncio
import base64

from tests.service.harness import Service, body, eventually, is_picture_of, next_event, parse_events, running_service


async def test_draining_lets_what_runs_finish_and_turns_new_ones_away(gated: Service) -> None:
    answer = await gated.http.post("/stream", json=body())
    draining = asyncio.create_task(gated.generations.drain(timeout=30))
    await eventually(lambda: gated.generations.is_draining)

    refused = await gated.http.post("/stream", json=body())
    assert refused.status == 503
    assert int(refused.headers["Retry-After"]) >= 1
    assert (await refused.json())["error"]["code"] == "draining"
    ready = await gated.http.get("/readyz")
    assert (ready.status, (await ready.json())["status"]) == (503, "draining")
    assert (await gated.http.get("/livez")).status == 200

    gated.worker.allow(4)
    await draining
    assert parse_events(await answer.read())[-1].json["step"] == 4
    assert gated.metric("requests_rejected_total", reason="draining") == 1


async def test_what_does_not_finish_in_time_is_cancelled_and_told(gated: Service) -> None:
    running = await gated.create(num_inference_steps=50)
    watching = await gated.http.get(f"/v1/generations/{running['id']}/events")
    stream = await gated.http.post("/stream", json=body(num_inference_steps=50))
    gated.worker.allow()
    draining = asyncio.create_task(gated.generations.drain(timeout=0.01))
    await eventually(lambda: gated.generation(running["id"]).cancel_cause == "shutdown")
    gated.worker.allow(2)
    await draining
    assert parse_events(await watching.read())[-1].name == "cancelled"
    event = await next_event(stream)
    while "error" not in event.json:
        event = await next_event(stream)
    assert event.json["error"]["code"] == "shutdown"
    assert gated.metric("requests_total", outcome="cancelled") == 2


async def test_a_drain_ends_even_if_the_worker_no_longer_answers(gated: Service) -> None:
    record = await gated.create()
    await gated.generations.drain(timeout=0)  # the engine waits at its gate all the while
    assert (await gated.show(record["id"]))["status"] == "cancelled"


async def test_32_clients_at_once_each_get_their_own_picture(service: Service) -> None:
    async def stream(seed: int) -> bool:
        answer = await service.http.post("/stream", json=body(seed=seed, num_inference_steps=4 + seed % 7))
        events = parse_events(await answer.read())
        assert {event.json["seed"] for event in events} == {seed}
        url = events[-1].json["image"]["url"]
        return is_picture_of(seed, base64.b64decode(url.partition(",")[2]))

    assert all(await asyncio.gather(*(stream(seed) for seed in range(1000, 1032))))
    assert service.metric("requests_total", outcome="ok") == 32
    assert service.metric("stream_clients") == 0


async def test_many_watchers_of_one_generation_get_the_same(gated: Service) -> None:
    record = await gated.create()
    url = f"/v1/generations/{record['id']}/events"
    answers = [await gated.http.get(url, headers={"Last-Event-ID": f"{record['id']}.0"}) for _ in range(5)]
    gated.worker.allow(4)
    ends = {parse_events(await answer.read())[-1].data for answer in answers}
    assert len(ends) == 1


async def test_one_watcher_that_leaves_does_not_end_it_for_the_others(gated: Service) -> None:
    stream = await gated.http.post("/stream", json=body())
    generation = gated.generation(stream.headers["x-request-id"])
    other = await gated.http.get(f"/v1/generations/{generation.id}/events")
    stream.close()
    await eventually(lambda: len(generation.watchers) == 1)
    gated.worker.allow(4)
    assert parse_events(await other.read())[-1].name == "succeeded"


async def test_a_deadline_that_cannot_be_kept_is_refused(gated: Service) -> None:
    """The fake engine says that it takes 0.1 ms for a step."""
    answer = await gated.http.post("/stream", json=body(num_inference_steps=50, deadline_ms=4))
    assert answer.status == 422
    message = "must be later: even with nothing else to do, this takes about 0.005 s"
    problem = {"loc": ["body", "deadline_ms"], "msg": message, "type": "deadline"}
    assert (await answer.json())["detail"] == [problem]
    assert gated.metric("requests_rejected_total", reason="invalid") == 1


async def test_a_deadline_that_the_queue_does_not_leave_room_for_is_refused_for_now() -> None:
    async with running_service(gated=True, max_rows=2) as service:  # one at a time
        await service.create(num_inference_steps=50, num_images=4)
        answer = await service.http.post("/stream", json=body(num_inference_steps=50, deadline_ms=15))
        assert answer.status == 503
        assert answer.headers["Retry-After"] == "1"
        assert (await answer.json())["error"]["code"] == "queue_too_long"
        assert service.metric("requests_rejected_total", reason="queue_too_long") == 1
        await service.create(num_inference_steps=50, deadline_ms=10_000)
