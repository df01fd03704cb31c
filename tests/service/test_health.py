from tests.service.harness import Service, body, running_service


async def test_alive_and_ready(service: Service) -> None:
    answer = await service.http.get("/livez")
    assert (answer.status, await answer.json()) == (200, {"status": "alive"})
    answer = await service.http.get("/readyz")
    record = await answer.json()
    assert (answer.status, record["status"]) == (200, "ready")
    assert record["model"] == {
        "name": "fake",
        "default_width": 256,
        "default_height": 256,
        "size_multiple": 8,
        "min_size": 64,
        "max_size": 1024,
        "device": "cpu",
        "dtype": "float32",
        "batching": "step",
        "sampler": "euler",
        "samplers": ["euler", "euler_a", "dpmpp_2m", "ddim", "unipc", "lcm"],
    }


async def test_alive_and_not_ready_while_the_model_loads() -> None:
    async with running_service(loaded=False) as service:
        assert (await service.http.get("/livez")).status == 200
        answer = await service.http.get("/readyz")
        assert (answer.status, await answer.json()) == (503, {"status": "loading", "auth": False})
        await service.worker.load()
        assert (await service.http.get("/readyz")).status == 200
        assert (await service.http.post("/", json=body())).status == 200


async def test_not_ready_while_the_worker_is_gone(service: Service) -> None:
    await service.worker.die()
    answer = await service.http.get("/readyz")
    assert (answer.status, (await answer.json())["status"]) == (503, "restarting")
    assert (await service.http.get("/livez")).status == 200
