import queue

import numpy as np

from benchmarks.engine.outlet import Outlet
from scheduler.messages import Finished, Preview, Report, Started
from scheduler.outbox import FinalPicture, PreviewPicture
from scheduler.request import GenerateParams, Request

PIXELS = np.zeros((64, 64, 3), dtype=np.uint8)


def make_request() -> Request:
    return Request("a", GenerateParams(prompt="a boat", width=64, height=64))


def drained(arrived: "queue.SimpleQueue[Report]") -> list[Report]:
    reports = []
    while not arrived.empty():
        reports.append(arrived.get())
    return reports


def test_what_is_emitted_arrives_encoded() -> None:
    request, outlet = make_request(), Outlet()
    outlet.emit([Started("a"), FinalPicture(request, PIXELS, prompt_truncated=False, denoised_at=request.arrived_at)])
    outlet.close()
    started, finished = drained(outlet.arrived)
    assert started == Started("a")
    assert isinstance(finished, Finished)
    assert finished.data.startswith(b"\xff\xd8")
    assert finished.timings["total"] >= finished.timings["encode"] > 0


def test_previews_arrive_too() -> None:
    outlet = Outlet()
    outlet.emit([PreviewPicture(make_request(), PIXELS, step=1)])
    outlet.close()
    (preview,) = drained(outlet.arrived)
    assert isinstance(preview, Preview)
    assert (preview.step, preview.total_steps) == (1, 20)
