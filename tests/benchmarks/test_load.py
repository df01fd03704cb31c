import time
from typing import Any

import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpServer

from benchmarks.load import Plan, parse, run, size, workload_of
from benchmarks.workload import Workload, poisson_arrivals
from tests.benchmarks.test_client import good

URL = "http://127.0.0.1:8000/stream"


def make_plan(**changes: Any) -> Plan:
    base = {"url": URL, "clients": None, "rate": None, "count": 8, "seconds": 10.0, "timeout": 5.0}
    return Plan(**{**base, "workload": Workload(), **changes})


@pytest.fixture
async def url(aiohttp_server: AiohttpServer) -> str:
    app = web.Application()
    app.add_routes([web.post("/stream", good)])
    return str((await aiohttp_server(app)).make_url("/stream"))


async def test_closed_loop_sends_each_request_once(url: str) -> None:
    samples = await run(make_plan(url=url, clients=3), quiet=True)
    assert sorted(sample.index for sample in samples) == list(range(8))
    assert all(sample.error is None for sample in samples)


async def test_closed_loop_keeps_as_many_in_flight_as_there_are_clients(url: str) -> None:
    samples = await run(make_plan(url=url, clients=2), quiet=True)
    for sample in samples:
        overlapping = [s for s in samples if s.intended <= sample.intended < s.intended + s.ended]
        assert len(overlapping) <= 2


async def test_closed_loop_stops_in_time(url: str) -> None:
    samples = await run(make_plan(url=url, clients=1, count=1000, seconds=0.2), quiet=True)
    assert 1 <= len(samples) < 10


async def test_open_loop_sends_at_the_times_of_its_seed(url: str) -> None:
    samples = await run(make_plan(url=url, rate=40.0, count=8), quiet=True)
    intended = sorted(sample.intended for sample in samples)
    arrivals = poisson_arrivals(40.0, seed=0)
    assert intended == pytest.approx([next(arrivals) for _ in range(8)])
    assert all(sample.sent >= 0 for sample in samples)


async def test_open_loop_does_not_wait_for_answers(url: str) -> None:
    started = time.perf_counter()
    samples = await run(make_plan(url=url, rate=1000.0, count=50), quiet=True)
    assert len(samples) == 50
    assert time.perf_counter() - started < 50 * 0.05 / 2  # an answer takes 0.05 s


async def test_open_loop_stops_in_time(url: str) -> None:
    samples = await run(make_plan(url=url, rate=20.0, count=1000, seconds=0.3), quiet=True)
    assert max(sample.intended for sample in samples) < 0.3


def test_options_become_a_workload() -> None:
    options = parse(["--steps", "4", "20", "--guidance", "1", "5.5", "--size", "256x256", "320x192", "--rate", "2"])
    expected = Workload(steps=(4, 20), guidance=(1.0, 5.5), sizes=((256, 256), (320, 192)))
    assert workload_of(options) == expected
    assert (options.rate, options.clients) == (2.0, None)


def test_sixteen_clients_are_the_default() -> None:
    assert parse([]).clients == 16


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ("--url http://example.com/stream", "--allow-remote"),
        ("--rate 0", "--rate must be more than 0"),
        ("--clients 2 --rate 1", "not allowed with"),
        ("--size big", "invalid size value"),
    ],
)
def test_bad_options_are_refused_with_a_hint(arguments: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(arguments.split())
    assert hint in capsys.readouterr().err


def test_size() -> None:
    assert size("320x192") == (320, 192)
