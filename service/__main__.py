"""The command line: the one place where the service, the workers and the settings meet."""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop
from rich.console import Console

from scheduler.client import Client
from scheduler.placement.local import LocalWorkers
from service.app import make_app
from service.arguments import PAINT_FLAGS, make_parser, setting_flags
from service.keys import METRICS
from service.metrics import package_version
from service.offline import OfflineError, PaintProgress, Task, paint
from service.server import ServeError, Server
from service.settings import ModelSettings, ServeSettings, SettingsError, load_settings


def main(arguments: Sequence[str] | None = None) -> int:
    options = make_parser(package_version()).parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # It would log what it cannot parse, which may hold a prompt; errors of handlers are logged by the service itself.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    command = serve if options.command == "serve" else generate
    try:
        uvloop.run(command(options))
    except (ServeError, OfflineError) as error:
        return fail(str(error), 1)
    except SettingsError as error:
        return fail(str(error), 2)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    return 0


def fail(message: str, code: int) -> int:
    print(f"latentcast: {message}", file=sys.stderr, flush=True)
    return code


async def serve(options: argparse.Namespace) -> None:
    settings = load_settings(ServeSettings, setting_flags(options))
    client = Client()
    app = make_app(settings, client)
    restarts = app[METRICS].worker_restarts.labels("crash")
    workers = LocalWorkers(
        settings.serve_worker_config(), settings.workers, client, on_progress=say, on_restart=lambda _: restarts.inc()
    )
    say(f"latentcast {package_version()}, {settings.model if settings.engine == 'sdxl' else 'fake engine'}")
    await Server(app, workers, say).run()


async def generate(options: argparse.Namespace) -> None:
    settings = load_settings(ModelSettings, setting_flags(options))
    fields = {field: value for field in PAINT_FLAGS if (value := getattr(options, field, None)) is not None}
    task = Task(fields | {"prompt": options.prompt}, PAINT_FLAGS, Path(options.output), options.previews)
    task.check()
    client = Client()
    progress = PaintProgress(Console(stderr=True))
    workers = LocalWorkers(settings.worker_config(), 1, client, on_progress=progress.say)
    await paint(task, client, workers, progress)


def say(line: str) -> None:
    """To whoever started the service. It goes on when nobody reads there any more (`| head`, a closed terminal)."""
    try:
        print(line, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
