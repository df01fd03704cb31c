"""Servers and readers as processes: a real service whose worker is played."""

import os
import time
import urllib.request
from collections.abc import Callable

import psutil
import pytest

from benchmarks.fanout.processes import FanoutError, connected, on_served_core, running_server, served_core
from benchmarks.fanout.readers import Arrivals


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < deadline, "it never became true"


def num_previews_sent(url: str) -> float:
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("latentcast_previews_sent_total "))


def test_previews_arrive_with_their_delays() -> None:
    with running_server("benchmarks.fanout.service", "--preview-bytes", "1000", "--interval", "0.02") as server:
        assert server.resident_kib > 1024
        with connected(server.url, 3) as readers:
            wait_until(lambda: num_previews_sent(server.url) > 10)
            arrivals = readers.arrivals()
    assert len(arrivals.at) > 5  # some may still have been under way
    assert arrivals.num_ended == 0
    assert all(0 < delay < 60 for delay in arrivals.delays)


def test_a_server_that_stands_still_takes_no_time() -> None:
    arguments = ("--preview-bytes", "1000", "--interval", "0.02")
    with running_server("benchmarks.fanout.service", *arguments) as server, connected(server.url, 2):
        server.stand_still()
        wait_until(lambda: server.main.status() == psutil.STATUS_STOPPED)
        spent = server.cpu_seconds
        assert server.cpu_share(0.1) < 0.01  # what its threads did while they came to a stand
        server.go_on()
        wait_until(lambda: server.cpu_seconds > spent)


def test_a_server_that_does_not_start_is_told_with_what_it_said() -> None:
    with pytest.raises(FanoutError, match=r"No module named benchmarks\.fanout\.nothing"):
        running_server("benchmarks.fanout.nothing").__enter__()


def test_readers_that_get_no_stream_are_told() -> None:
    with (
        running_server("benchmarks.fanout.service", "--preview-bytes", "0") as server,
        pytest.raises(FanoutError, match="404 Not Found"),
    ):
        connected(f"{server.url}/v1/generations/unknown/events", 1).__enter__()


def test_what_is_measured_here_has_the_served_core() -> None:
    before = os.sched_getaffinity(0)
    core = served_core()
    with on_served_core():
        assert os.sched_getaffinity(0) == ({core} if core is not None else before)
    assert os.sched_getaffinity(0) == before


def test_delays_of_a_window() -> None:
    arrivals = Arrivals(at=[1.0, 2.0, 3.0], delays=[0.1, 0.2, 0.3], skipped=[1, 2, 4], num_ended=0)
    assert arrivals.delays_between(2.0, 3.0) == [0.2]
    assert arrivals.skipped_between(1.0, 3.0) == 3
