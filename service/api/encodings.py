"""A picture's bytes as text, in the ways that clients ask for."""

import binascii
from collections.abc import Callable, Mapping
from typing import Literal, get_args

import msgspec
import pybase64

from scheduler.messages import Finished, Preview

Encoding = Literal["hex", "base64", "url"]


def base64_of(picture: Preview | Finished) -> str:
    return pybase64.b64encode_as_string(picture.data)


# As JSON, because an encoder would look at each of their many characters in search of one to escape.


def json_base64_of(picture: Preview | Finished) -> msgspec.Raw:
    return _quoted(pybase64.b64encode(picture.data))


def json_data_url_of(picture: Preview | Finished) -> msgspec.Raw:
    scheme = f"data:{picture.content_type};base64,".encode("ascii")
    return _quoted(scheme, pybase64.b64encode(picture.data))


def json_hex_of(picture: Preview | Finished) -> msgspec.Raw:
    return _quoted(binascii.hexlify(picture.data))


def _quoted(*parts: bytes) -> msgspec.Raw:
    return msgspec.Raw(b"".join((b'"', *parts, b'"')))


ENCODINGS: Mapping[str, Callable[[Preview | Finished], msgspec.Raw]] = dict(
    zip(get_args(Encoding), (json_hex_of, json_base64_of, json_data_url_of), strict=True)
)
"""By name; each gives JSON."""
