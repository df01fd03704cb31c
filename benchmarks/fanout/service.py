"""The real service with a stand-in for its worker: `python -m benchmarks.fanout.service`, which prints `ready: URL`."""

import argparse

import uvloop

from scheduler.client import Client
from scheduler.placement.local import LocalWorkers
from service.__main__ import say
from service.app import make_app
from service.server import Server
from service.settings import ServeSettings, load_settings

ROOM = "1e12"  # whoever comes is admitted


async def serve(preview_bytes: int, interval: float) -> None:
    flags = {
        "engine": "fake",
        "model": str(preview_bytes),
        "fake_step_ms": str(interval * 1000),
        "port": "0",
        "max_queue_cost": ROOM,
        "deadline": "0",
        "drain_timeout": "0",
    }
    settings = load_settings(ServeSettings, flags)
    client = Client()
    workers = LocalWorkers(settings.serve_worker_config(), 1, client, say, module="benchmarks.fanout.replay")
    await Server(make_app(settings, client), workers, say).run()


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.fanout.service", description=__doc__)
    parser.add_argument("--preview-bytes", type=int, default=15_000, help="(%(default)s)")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two previews (%(default)s)")
    options = parser.parse_args()
    uvloop.run(serve(options.preview_bytes, options.interval))


if __name__ == "__main__":
    main()
