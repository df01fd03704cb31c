"""One streamed request, timed event by event."""

import asyncio
import time
from dataclasses import dataclass, field

import aiohttp
import msgspec

from benchmarks.results import Sample
from benchmarks.sse import EventParser, decode_event
from benchmarks.workload import Workload

READ_BYTES = 1 << 20


@dataclass(slots=True)
class Reading:
    """What has come of one stream so far. Times as `time.perf_counter` gives them."""

    sent: float
    previews: list[float] = field(default_factory=list)
    received_bytes: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class StreamClient:
    """Sends requests of a workload to one URL. `run_started` is the `time.perf_counter` that samples count from."""

    session: aiohttp.ClientSession
    url: str
    workload: Workload
    run_started: float

    async def request(self, index: int, intended: float) -> Sample:
        """Sends request number `index`, meant to leave at `intended` (`time.perf_counter`), and reads it out."""
        body = self.workload.body(index)
        reading = Reading(sent=time.perf_counter())
        try:
            await self._read(body, reading)
        except TimeoutError:
            reading.error = "timeout"
        except (aiohttp.ClientError, ConnectionError):
            reading.error = "connection"
        except msgspec.DecodeError:
            reading.error = "invalid"
        return Sample(
            index=index,
            steps=int(body["num_inference_steps"]),
            intended=intended - self.run_started,
            sent=reading.sent - intended,
            previews=tuple(at - intended for at in reading.previews),
            ended=time.perf_counter() - intended,
            received_bytes=reading.received_bytes,
            error=reading.error,
        )

    async def _read(self, body: dict[str, str | int | float], reading: Reading) -> None:
        """Fills `reading`; the stream counts as finished only after its final image and its clean end."""
        async with self.session.post(self.url, json=body) as response:
            if response.status != 200:
                reading.error = f"http_{response.status}"
                return
            parser = EventParser()
            finished = False
            while chunk := await response.content.read(READ_BYTES):
                reading.received_bytes += len(chunk)
                now = time.perf_counter()
                for data in parser.feed(chunk):
                    event = decode_event(data)
                    finished = event.is_final
                    if event.error is not None:
                        reading.error = "failed"
                        return
                    if not finished:
                        reading.previews.append(now)
            if not finished:
                reading.error = "truncated"


async def sleep_until(moment: float) -> None:
    """Until `time.perf_counter` reads `moment`; returns at once if that has passed."""
    if (seconds := moment - time.perf_counter()) > 0:
        await asyncio.sleep(seconds)
