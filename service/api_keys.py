"""API keys: a file with the names of those who may use the service, and what their keys hash to."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from service.settings import SettingsError

NAME = re.compile(r"[A-Za-z0-9_.@-]{1,64}")
LINE = re.compile(rf"(?P<name>{NAME.pattern}):(?P<digest>[0-9A-Fa-f]{{64}})(:(?P<max_priority>-?[0-9]{{1,2}}))?")
KEY_PREFIX = "lc_"
KEY_BYTES = 32  # so many random bytes cannot be guessed from their hash, which therefore needs no salt


class ApiKeyError(SettingsError):
    """A key file or a name is wrong; the message is one line."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One line of a key file. With this key no request may have a priority above `max_priority`."""

    name: str
    digest: bytes
    max_priority: int = 0

    @classmethod
    def parse(cls, line: str) -> "ApiKey":
        match = LINE.fullmatch(line)
        if match is None:
            raise ApiKeyError("must be NAME:SHA256 as `latentcast new-key NAME` prints it, or NAME:SHA256:MAX_PRIORITY")
        return cls(match["name"], bytes.fromhex(match["digest"]), int(match["max_priority"] or 0))


class ApiKeys:
    """The keys that are let in."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._keys = list(keys)

    @classmethod
    def read(cls, path: Path) -> "ApiKeys":
        """Blank lines and those that begin with `#` say nothing; a name may have several keys. Raises `ApiKeyError`."""
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is not text"
            raise ApiKeyError(f"--api-key-file {path}: {reason}") from error
        keys = []
        for number, line in enumerate(map(str.strip, lines), start=1):
            if line and not line.startswith("#"):
                try:
                    keys.append(ApiKey.parse(line))
                except ApiKeyError as error:
                    raise ApiKeyError(f"--api-key-file {path}, line {number}: {error}") from error
        if not keys:
            raise ApiKeyError(f"--api-key-file {path}: has no key; `latentcast new-key NAME` makes one")
        return cls(keys)

    def find(self, key: str) -> ApiKey | None:
        """Takes equally long whichever key it is, or none."""
        digest = _digest(key)
        found = [each for each in self._keys if hmac.compare_digest(each.digest, digest)]
        return found[0] if found else None


def make_key(name: str) -> tuple[str, str]:
    """A fresh key, and its line for a key file. Raises `ApiKeyError`."""
    if not NAME.fullmatch(name):
        raise ApiKeyError(f"{name!r}: a name is 1 to 64 letters, digits and _ . @ -")
    key = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
    return key, f"{name}:{_digest(key).hex()}"


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
