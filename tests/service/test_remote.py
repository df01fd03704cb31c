"""`latentcast generate --url` against a service that runs."""

import asyncio
import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from io import StringIO
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from PIL import Image
from rich.console import Console

from scheduler.fake_engine import FAILING_PROMPT
from service import native_client, remote
from service.__main__ import generate
from service.api_keys import make_key
from service.arguments import make_parser
from service.generation import Generation
from service.native_client import NativeClient
from service.painting import PaintError, Task
from service.progress import PaintProgress
from service.settings import SettingsError
from tests.gifs import frames_of, last_frame_is_of
from tests.service.harness import Service, eventually, is_picture_of, running_service
from tests.web.network import CuttableNetwork
from tests.web.server import REPOSITORY, Server

SMALL = ("--size", "64x64", "--seed", "7")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command is given."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LATENTCAST_KEY", raising=False)
    return tmp_path


def url_of(service: Service) -> str:
    return str(service.http.make_url(""))


async def run(url: str, *arguments: str) -> None:
    await generate(make_parser("1").parse_args(["generate", "--url", url, *arguments]))


def start(url: str, *arguments: str) -> "asyncio.Task[None]":
    return asyncio.create_task(run(url, *arguments))


async def the_running(service: Service) -> Generation:
    """The one that runs, as soon as it does."""
    await eventually(lambda: service.generations.under_way.running)
    (generation,) = service.generations.under_way.running.values()
    return generation


async def step_until_there(service: Service, path: Path) -> None:
    """Allows one step, and returns when the preview that follows from it is written."""
    service.worker.allow()
    await eventually(path.exists)


async def failure(url: str, *arguments: str) -> str:
    with pytest.raises(PaintError) as caught:
        await run(url, *arguments)
    line = str(caught.value)
    assert "\n" not in line
    return line.replace(url.rstrip("/"), "URL")


async def test_a_picture_its_previews_and_how_it_formed(
    gated: Service, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ("--previews", "previews", "--gif", "forming.gif", "--steps", "4", "--preview-every", "2")
    painting = start(url_of(gated), "a red boat", *SMALL, *wanted)
    await step_until_there(gated, folder / "previews/step-01.jpg")
    gated.worker.allow()
    await step_until_there(gated, folder / "previews/step-03.jpg")
    gated.worker.allow()
    await painting
    with Image.open("out.png") as image:
        assert (image.format, image.size) == ("PNG", (64, 64))
    assert is_picture_of(7, (folder / "out.png").read_bytes())
    assert [path.name for path in sorted((folder / "previews").iterdir())] == ["step-01.jpg", "step-03.jpg"]
    assert frames_of(folder / "forming.gif") == [((64, 64), 300), ((64, 64), 300), ((64, 64), 2000)]
    assert last_frame_is_of(7, folder / "forming.gif")
    assert capsys.readouterr().err.startswith("out.png: 64x64, seed 7, ")


async def test_several_pictures_are_numbered(folder: Path) -> None:
    wanted = ("--num-images", "2", "--previews", "previews", "--gif", "forming.gif", "-o", "out.jpg")
    async with running_service(gated=True, max_rows=2) as service:  # one after the other
        painting = start(url_of(service), "a", *SMALL, *wanted, "--steps", "2", "--preview-every", "1")
        for index in range(2):
            await step_until_there(service, folder / f"previews/{index}-step-01.jpg")
            service.worker.allow()
        await painting
    for index in range(2):
        assert is_picture_of(7 + index, (folder / f"out-{index}.jpg").read_bytes())
        assert [milliseconds for _, milliseconds in frames_of(folder / f"forming-{index}.gif")] == [300, 2000]
        assert last_frame_is_of(7 + index, folder / f"forming-{index}.gif")


async def test_all_that_can_be_asked_for_reaches_the_service(gated: Service) -> None:
    painting = start(
        url_of(gated),
        "a boat",
        *("--negative-prompt", "fog", "--size", "128x64", "--steps", "3", "--guidance", "3.5", "--seed", "9"),
        *("--guidance-rescale", "0.5", "--sampler", "ddim", "--image-quality", "80", "-o", "out.webp"),
    )
    params = (await the_running(gated)).params
    assert (params.prompt, params.negative_prompt) == ("a boat", "fog")
    assert (params.width, params.height, params.num_steps, params.seed) == (128, 64, 3, 9)
    assert (params.guidance_scale, params.guidance_rescale, params.sampler) == (3.5, 0.5, "ddim")
    assert (params.image_format, params.image_quality) == ("webp", 80)
    assert params.preview_every == 0  # nobody wants any
    gated.worker.allow(3)
    await painting
    with Image.open("out.webp") as image:
        assert (image.format, image.size) == ("WEBP", (128, 64))


async def test_what_the_command_does_not_say_the_service_decides(gated: Service) -> None:
    painting = start(url_of(gated), "a")
    params = (await the_running(gated)).params
    assert (params.width, params.num_steps, params.guidance_scale, params.sampler) == (256, 20, 5.0, None)
    gated.worker.allow(20)
    await painting


async def test_a_prompt_that_was_cut_is_told(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    await run(url_of(service), "word " * 100, *SMALL, "--steps", "1")
    assert "The prompt is longer than the model reads" in capsys.readouterr().err


async def test_a_connection_that_is_cut_is_taken_up_again(gated: Service, folder: Path) -> None:
    assert gated.http.port is not None
    wanted = ("--gif", "forming.gif", "--previews", "previews", "--steps", "3", "--preview-every", "1")
    with CuttableNetwork(gated.http.port) as network:
        painting = start(network.url, "a", *SMALL, *wanted)
        await step_until_there(gated, folder / "previews/step-01.jpg")
        network.cut()
        await eventually(lambda: gated.metric("stream_resumes_total", result="hit") == 1)
        await step_until_there(gated, folder / "previews/step-02.jpg")
        gated.worker.allow()
        await painting
    assert len(frames_of(folder / "forming.gif")) == 3
    assert gated.metric("requests_total", outcome="ok") == 1


async def test_a_connection_that_does_not_come_back(
    gated: Service, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_client, "RETRY_SECONDS", (0.0, 0.0))
    assert gated.http.port is not None
    with CuttableNetwork(gated.http.port) as network:
        painting = start(network.url, "a", *SMALL, "--previews", "previews")
        await step_until_there(gated, folder / "previews/step-01.jpg")
    with pytest.raises(PaintError, match="nothing listens there"):
        await painting
    gated.worker.allow(20)


async def test_a_generation_that_was_forgotten(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.generations, "get", lambda _: None)
    line = await failure(url_of(service), "a", *SMALL)
    assert line == "the service does not know the generation any more; it was started again, or forgot it"


async def test_whoever_goes_away_cancels(gated: Service) -> None:
    painting = start(url_of(gated), "a", *SMALL)
    generation = await the_running(gated)
    painting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await painting
    await gated.step_until(lambda: generation.is_over)
    assert gated.metric("requests_cancelled_total", cause="api", phase="running") == 1


async def test_whoever_cannot_write_cancels(gated: Service, folder: Path) -> None:
    (folder / "file").touch()
    painting = start(url_of(gated), "a", *SMALL, "--previews", "file/in")
    generation = await the_running(gated)
    gated.worker.allow()
    with pytest.raises(PaintError, match=r"file/in/step-01\.jpg cannot be written: Not a directory"):
        await painting
    await gated.step_until(lambda: generation.is_over)
    assert generation.status == "cancelled"


class Told(PaintProgress):
    """Remembers what was said."""

    def __init__(self) -> None:
        super().__init__(Console(file=StringIO(), force_terminal=True))
        self.lines: list[str] = []
        self.steps = 0

    def say(self, line: str) -> None:
        self.lines.append(line)

    def advance(self, num_steps: int) -> None:
        self.steps += num_steps


async def test_the_bar_tells_the_place_in_the_queue_and_then_the_steps(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr(remote, "POLL_SECONDS", 0.001)
    progress = Told()
    task = Task({"prompt": "a", "width": "64", "height": "64", "num_inference_steps": "7"}, {}, folder / "out.png")
    async with running_service(gated=True, max_rows=2) as service:
        await service.create(num_inference_steps=1)
        await the_running(service)
        await service.create(num_inference_steps=1)
        client = NativeClient(url_of(service), None)
        painting = asyncio.create_task(remote.paint_remotely(task, client, progress))
        await eventually(lambda: progress.lines[1:])
        assert progress.lines[0] == "asking the service"
        assert progress.lines[1].startswith("queued, 1 before it, ready in about ")
        service.worker.allow()
        await eventually(lambda: progress.lines[-1].startswith("queued, 0 before it, "))
        service.worker.allow()
        ours = await the_last_running(service)
        assert ours.params.preview_size == 64  # nobody keeps them
        service.worker.allow()
        await eventually(lambda: progress.steps == 1)
        service.worker.allow(5)
        await eventually(lambda: progress.steps == 6)
        service.worker.allow()
        await painting


async def the_last_running(service: Service) -> Generation:
    under_way = service.generations.under_way
    await eventually(lambda: not under_way.waiting and len(under_way.running) == 1)
    return await the_running(service)


@pytest.fixture
def key(folder: Path) -> str:
    key, line = make_key("alice")
    (folder / "keys.txt").write_text(line)
    return key


async def test_a_key_is_sent_from_the_flag_or_the_environment(
    folder: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_service(api_key_file=folder / "keys.txt") as service:
        await run(url_of(service), "a", *SMALL, "--steps", "1", "--key", key)
        monkeypatch.setenv("LATENTCAST_KEY", key)
        await run(url_of(service), "a", *SMALL, "--steps", "1", "-o", "again.png")
        assert (folder / "out.png").read_bytes() == (folder / "again.png").read_bytes()
        line = await failure(url_of(service), "a", "--key", "wrong")
        assert line == "the service does not know this API key"


async def test_a_key_is_needed(folder: Path, key: str) -> None:
    assert key
    async with running_service(api_key_file=folder / "keys.txt") as service:
        line = await failure(url_of(service), "a")
    assert line == "the service needs an API key: --key KEY, or LATENTCAST_KEY in the environment"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["a", "--size", "2048x64"], "--width 2048: must be at most 1024"),
        (["a", "--size", "64x32"], "--height 32: must be at least 64"),
        (["a", "--steps", "51"], "--steps 51: must be at most 50"),
        (["a", "-o", "out.gif"], "--output out.gif: must end in .png, .jpg, .jpeg, .webp"),
        (["a", "--gif", "out.gif", "--preview-every", "0"], "--preview-every 0: --gif is made of previews"),
        ([FAILING_PROMPT, "--size", "64x64"], "the fake engine was asked to fail this request"),
    ],
)
async def test_what_is_wrong_is_told_in_one_line(service: Service, arguments: list[str], line: str) -> None:
    assert await failure(url_of(service), *arguments) == line


async def test_a_service_that_is_loading_says_when_to_come_back() -> None:
    async with running_service(loaded=False) as service:
        line = await failure(url_of(service), "a")
        await service.worker.load()
    assert line == "the model is being loaded; try again soon (Retry-After: 2 s)"


async def test_a_generation_that_someone_else_cancels(gated: Service) -> None:
    painting = start(url_of(gated), "a", *SMALL)
    generation = await the_running(gated)
    gated.generations.cancel(generation, "api")
    await gated.step_until(lambda: generation.is_over)
    with pytest.raises(PaintError, match="the generation was cancelled"):
        await painting


async def test_nothing_listens_there(unused_tcp_port: int) -> None:
    assert await failure(f"http://127.0.0.1:{unused_tcp_port}", "a") == "--url URL: nothing listens there"


@asynccontextmanager
async def stranger(answer: Callable[[], web.Response]) -> AsyncIterator[str]:
    """The address of a web server that gives one answer to everything."""

    async def handle(request: web.Request) -> web.Response:
        await request.read()
        return answer()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (lambda: web.Response(status=404, text="<html>"), "no Latentcast service is there (it answers 404)"),
        (lambda: web.json_response({"detail": "no"}, status=401), "no Latentcast service is there (it answers 401)"),
        (lambda: web.Response(text="hello"), "no Latentcast service is there (what it answers is of another kind)"),
        (lambda: web.Response(status=302, headers={"Location": "/there"}), "it sends on to /there"),
    ],
)
async def test_what_is_there_is_another_program(answer: Callable[[], web.Response], line: str) -> None:
    async with stranger(answer) as url:
        assert await failure(url, "a") == f"--url URL: {line}"


async def test_an_address_that_leads_elsewhere_is_not_followed(service: Service) -> None:
    record = await service.create() | {"events_url": "@elsewhere/v1/generations/1/events"}
    async with stranger(lambda: web.Response(status=202, body=json.dumps(record))) as url:
        line = await failure(url, "a")
    assert line == "--url URL: no Latentcast service is there (what it answers is of another kind)"


async def test_what_is_there_speaks_no_http() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        line = await failure(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "a")
    assert line.startswith("--url URL: ")


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "ftp://host", "http://", "http://[", "http://a:b", "http://me@host", "http://h/?a=b"]
)
async def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(PaintError, match=r"--url .*: must be an address such as http://127\.0\.0\.1:8000"):
        await run(url, "a")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--url", "http://host", "--model", "m", "--device", "cpu", "--sampler", "ddim"],
            "--model, --device: not together with --url, for the service has its own model and device",
        ),
        (["--key", "k"], "--key: only together with --url"),
    ],
)
async def test_flags_that_do_not_go_together(arguments: list[str], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        await generate(make_parser("1").parse_args(["generate", "a", *arguments]))
    assert str(caught.value) == message


def command(url: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "service", "generate", "--url", url, *arguments]


async def test_ctrl_c_cancels(folder: Path) -> None:
    with Server("--engine", "fake", "--fake-step-ms", "100") as server:
        previews = folder / "previews"
        arguments = ("a", *SMALL, "--steps", "50", "--previews", str(previews), "-o", str(folder / "out.png"))
        process = await asyncio.create_subprocess_exec(
            *command(server.url, *arguments),
            cwd=REPOSITORY,
            stderr=subprocess.PIPE,
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
        )
        await eventually(previews.exists, seconds=30)
        process.send_signal(signal.SIGINT)
        _, said = await process.communicate()
        assert (process.returncode, said) == (130, b"")
        cancelled = 'latentcast_requests_cancelled_total{cause="api",phase="running"} 1.0'
        await eventually(lambda: cancelled in metrics_of(server.url))
    assert not (folder / "out.png").exists()


def metrics_of(url: str) -> str:
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


async def test_no_model_library_is_loaded(service: Service, folder: Path) -> None:
    script = "import sys; from service.__main__ import main; print(main(sys.argv[1:])); print('torch' in sys.modules)"
    arguments = command(url_of(service), "a", *SMALL, "--steps", "1", "-o", str(folder / "out.png"))[3:]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, *arguments, cwd=REPOSITORY, stdout=subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert output.split() == [b"0", b"False"]
