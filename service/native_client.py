"""A client of the native interface of a service that runs somewhere, also over a network that breaks."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
from pydantic import BaseModel, ValidationError

from service.errors import ErrorBody, Problem
from service.painting import PaintError
from service.records import CreatedRecord, GenerationRecord

CONNECT_SECONDS = 10.0
SILENT_SECONDS = 60.0  # a stream says something at least every 15 seconds, unless the service was told otherwise
CANCEL_SECONDS = 5.0
RETRY_SECONDS = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0)  # before each attempt to come back after a cut

UNREACHED = (aiohttp.ClientError, OSError)  # TimeoutError is one of the latter

Record = TypeVar("Record", bound=BaseModel)


class RefusedError(PaintError):
    """The service says what is wrong with the request."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


class ServiceEvent(NamedTuple):
    """One event of a generation's stream; `data` is JSON."""

    id: str
    name: str
    data: str


class NativeClient:
    """What goes wrong is raised as `PaintError`, what is wrong with a request as `RefusedError`."""

    def __init__(self, url: str, key: str | None) -> None:
        _check(url, key)
        self._url = url.rstrip("/")
        self._key = key

    async def __aenter__(self) -> Self:
        headers = {} if self._key is None else {"Authorization": f"Key {self._key}"}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS)
        self._session = aiohttp.ClientSession(headers=headers, timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def create(self, body: Mapping[str, Any]) -> CreatedRecord:
        return self.parse(CreatedRecord, await self._ask("POST", "/v1/generations", json=body))

    async def show(self, generation_id: str) -> GenerationRecord:
        return self.parse(GenerationRecord, await self._ask("GET", f"/v1/generations/{generation_id}"))

    async def cancel(self, generation_id: str) -> None:
        """As far as the service can be reached; without effect on what is over."""
        with suppress(PaintError, TimeoutError):
            async with asyncio.timeout(CANCEL_SECONDS):
                await self._ask("DELETE", f"/v1/generations/{generation_id}")

    async def fetch(self, path: str) -> bytes:
        """What is at an address that the service has told."""
        delays = iter(RETRY_SECONDS)
        while True:
            try:
                async with self._request("GET", path) as answer:
                    return await self._body_of(answer)
            except UNREACHED as error:
                await self._pause(delays, error)

    async def events(self, path: str) -> AsyncGenerator[ServiceEvent, None]:
        """All that come; those that were missed while the connection was cut are sent again. It never ends by itself:
        leave it at the last one.
        """
        seen, delays = "", iter(RETRY_SECONDS)
        while True:
            lost: Exception = ConnectionError("the stream ended too early")
            try:
                async with self._request("GET", path, headers={"Last-Event-ID": seen} if seen else {}) as answer:
                    await self._check_stream(answer)
                    blocks = _Blocks()
                    async for chunk in answer.content.iter_any():
                        delays = iter(RETRY_SECONDS)  # so long as something comes, there is hope
                        for event in blocks.feed(chunk):
                            seen = event.id
                            yield event
            except UNREACHED as error:
                lost = error
            await self._pause(delays, lost)

    def parse(self, kind: type[Record], data: bytes | str) -> Record:
        try:
            return kind.model_validate_json(data)
        except ValidationError as error:
            raise self._stranger("what it answers is of another kind") from error

    async def _ask(self, method: str, path: str, **options: Any) -> bytes:
        try:
            async with self._request(method, path, **options) as answer:
                return await self._body_of(answer)
        except UNREACHED as error:
            raise self._unreached(error) from error

    def _request(self, method: str, path: str, **options: Any) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        if not path.startswith("/"):  # it would lead to another host, and take the key there
            raise self._stranger("what it answers is of another kind")
        return self._session.request(method, self._url + path, allow_redirects=False, **options)

    async def _body_of(self, answer: aiohttp.ClientResponse) -> bytes:
        raw = await answer.read()
        if answer.status not in (200, 202):
            raise self._refusal(answer, raw)
        return raw

    async def _check_stream(self, answer: aiohttp.ClientResponse) -> None:
        if answer.status in (204, 404):
            raise PaintError("the service does not know the generation any more; it was started again, or forgot it")
        if answer.status >= 500:
            answer.raise_for_status()  # a proxy whose service is away: it may come back
        if answer.status != 200:
            raise self._refusal(answer, await answer.read())

    async def _pause(self, delays: Iterator[float], lost: Exception) -> None:
        """Until the next attempt. Raises `PaintError` when there were enough of them."""
        delay = next(delays, None)
        if delay is None:
            raise self._unreached(lost) from lost
        await asyncio.sleep(delay)

    def _refusal(self, answer: aiohttp.ClientResponse, raw: bytes) -> PaintError:
        if 300 <= answer.status < 400:
            return PaintError(f"--url {self._url}: it sends on to {answer.headers.get('Location', 'nowhere')}")
        try:
            body = ErrorBody.model_validate_json(raw)
        except ValidationError:
            return self._stranger(f"it answers {answer.status}")
        if answer.status == 401:
            return PaintError(
                "the service needs an API key: --key KEY, or LATENTCAST_KEY in the environment"
                if self._key is None
                else "the service does not know this API key"
            )
        if after := answer.headers.get("Retry-After"):
            return PaintError(f"{body.message} (Retry-After: {after} s)")
        return RefusedError(body.detail) if body.detail else PaintError(body.message)

    def _unreached(self, error: Exception) -> PaintError:
        return PaintError(f"--url {self._url}: {_reason(error)}")

    def _stranger(self, why: str) -> PaintError:
        return PaintError(f"--url {self._url}: no Latentcast service is there ({why})")


class _Blocks:
    """Cuts what comes of an event stream into events."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[ServiceEvent]:
        *blocks, self._rest = (self._rest + chunk).split(b"\n\n")
        return [_event_of(block.decode("utf-8", "replace")) for block in blocks]


def _event_of(block: str) -> ServiceEvent:
    fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and not line.startswith(":"))
    return ServiceEvent(fields.get("id", ""), fields.get("event", ""), fields.get("data", ""))


def _check(url: str, key: str | None) -> None:
    if not _is_url(url):
        raise PaintError(f"--url {url}: must be an address such as http://127.0.0.1:8000")
    if key is not None and not (key and key.isascii() and key.isprintable()):
        raise PaintError("--key: must be a key as `latentcast new-key` prints it")


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        has_more = bool(parts.query or parts.fragment or "@" in parts.netloc or parts.port == 0)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not has_more


def _reason(error: Exception) -> str:
    """Why nothing came of it, for people."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return "its certificate is not trusted; SSL_CERT_FILE names the authority to trust"
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            return "nothing listens there"
        case aiohttp.ClientConnectorError(os_error=os_error):
            return f"it cannot be reached: {os_error.strerror or os_error}"
        case TimeoutError():
            return "it does not answer"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientResponseError(status=400):
            return "no Latentcast service is there (it does not speak HTTP)"
        case aiohttp.ClientResponseError(status=status):
            return f"it answers {status}"
    return f"the connection is lost: {error}"
