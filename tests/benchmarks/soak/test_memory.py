import os
import threading

import psutil
import pytest

from benchmarks.servers import Server
from benchmarks.soak.memory import MemorySeries, growth


def test_growth_is_of_the_line_after_the_warm_up() -> None:
    times = [0.0, 10.0, 20.0, 30.0, 40.0]
    grown = growth(times, [100.0, 900.0, 500.0, 501.0, 502.0], warm_up=20.0)
    assert grown is not None
    assert grown.mib_an_hour == pytest.approx(360)
    assert grown.mib == pytest.approx(2.0)
    assert grown.mean_mib == pytest.approx(501.0)


def test_one_sample_says_nothing() -> None:
    assert growth([0.0, 10.0], [100.0, 100.0], warm_up=5.0) is None


def test_a_series_has_a_sample_at_once_and_more_in_time() -> None:
    process = psutil.Process(os.getpid())
    series = MemorySeries(Server("http://nowhere", process, 0.0), interval=0.01)
    with series:
        while len(series.samples) < 3:
            threading.Event().wait(0.01)
    first, second, third = series.samples[:3]
    assert 0 <= first.at < second.at < third.at
    assert first.service_mib > 10
