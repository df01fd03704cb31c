"""The command line: the one place where the service, the workers and the settings meet."""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import uvloop
from rich.console import Console

from scheduler.calibration_cache import CalibrationCache
from scheduler.client import Client
from scheduler.placement.local import LocalWorkers
from scheduler.version import package_version
from service.api_keys import make_key
from service.app import make_app
from service.arguments import PAINT_FLAGS, make_parser, setting_flags
from service.calibrate import CalibrateError, Outputs, calibrate
from service.dev_cert import DevCertError, make_dev_cert
from service.keys import METRICS
from service.native_client import NativeClient
from service.offline import paint
from service.painting import PaintError, Task
from service.progress import PaintProgress
from service.remote import paint_remotely
from service.server import ServeError, Server
from service.settings import (
    ENV_PREFIX,
    BatchSettings,
    ModelSettings,
    ServeSettings,
    SettingsError,
    flag_name,
    load_settings,
)

KEY_VARIABLE = f"{ENV_PREFIX}KEY"


def main(arguments: Sequence[str] | None = None) -> int:
    options = make_parser(package_version()).parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # It would log what it cannot parse, which may hold a prompt; errors of handlers are logged by the service itself.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    try:
        uvloop.run(COMMANDS[options.command](options))
    except (ServeError, PaintError, CalibrateError, DevCertError) as error:
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
    server = Server(app, workers, say)
    say(f"latentcast {package_version()}, {settings.model if settings.engine == 'sdxl' else 'fake engine'}")
    await server.run()


async def generate(options: argparse.Namespace) -> None:
    await (_generate_here(options) if options.url is None else _generate_there(options))


async def _generate_here(options: argparse.Namespace) -> None:
    if options.key is not None:
        raise SettingsError("--key: only together with --url")
    settings = load_settings(ModelSettings, setting_flags(options))
    task = _task_of(options, {})
    client, progress = Client(), PaintProgress(Console(stderr=True))
    config = settings.worker_config(calibration="skip")  # one picture needs no speed
    workers = LocalWorkers(config, 1, client, on_progress=progress.say)
    await paint(task, client, workers, progress)


async def _generate_there(options: argparse.Namespace) -> None:
    settings = setting_flags(options)
    sampler = {"sampler": settings.pop("sampler")} if "sampler" in settings else {}  # a request may choose it too
    if settings:
        flags = ", ".join(map(flag_name, settings))
        raise SettingsError(f"{flags}: not together with --url, for the service has its own model and device")
    client = NativeClient(options.url, options.key or os.environ.get(KEY_VARIABLE) or None)
    await paint_remotely(_task_of(options, sampler), client, PaintProgress(Console(stderr=True)))


def _task_of(options: argparse.Namespace, more: Mapping[str, str]) -> Task:
    given = {field: value for field in PAINT_FLAGS if (value := getattr(options, field, None)) is not None}
    flags = {**PAINT_FLAGS, **{field: flag_name(field) for field in more}}
    fields = {"prompt": options.prompt, **given, **more}
    task = Task(fields, flags, Path(options.output), options.previews, options.gif)
    task.check()
    return task


async def measure(options: argparse.Namespace) -> None:
    settings = load_settings(BatchSettings, setting_flags(options) | {"calibration": "fresh"})
    client, tell = Client(), partial(print, file=sys.stderr, flush=True)
    workers = LocalWorkers(settings.worker_config(), 1, client, on_progress=tell)
    await calibrate(client, workers, Outputs(options.plot, options.json), Console())
    tell(f"kept in {CalibrationCache(settings.cache_dir).folder}")


async def new_key(options: argparse.Namespace) -> None:
    key, line = make_key(options.name)
    print(f"The key of {options.name}, which is shown only now: {key}", file=sys.stderr, flush=True)
    say(line)


async def dev_cert(options: argparse.Namespace) -> None:
    for line in make_dev_cert(options.dir, options.hosts, force=options.force):
        say(line)


COMMANDS = {"serve": serve, "calibrate": measure, "generate": generate, "new-key": new_key, "dev-cert": dev_cert}


def say(line: str) -> None:
    """To whoever started the service. It goes on when nobody reads there any more (`| head`, a closed terminal)."""
    try:
        print(line, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
