"""The certificate of the TLS listener."""

import ssl
from pathlib import Path

from service.settings import ServeSettings, SettingsError


def tls_context(settings: ServeSettings) -> ssl.SSLContext | None:
    """For a listener with the certificate of the settings; None where they have none. Raises `SettingsError`."""
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise SettingsError("--tls-cert and --tls-key go together: give both, or neither")
    for flag, path in (("--tls-cert", cert), ("--tls-key", key)):
        _check_readable(flag, path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except ssl.SSLError as error:
        raise SettingsError(f"--tls-cert {cert} --tls-key {key}: {_reason(error)}") from error
    return context


def _check_readable(flag: str, path: Path) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{flag} {path}: {error.strerror}") from error


def _no_password() -> str:
    """For a key that has one: without this the library would ask on the terminal."""
    return ""


def _reason(error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key is not the certificate's"
    return "must be a certificate and its key in PEM, the key without a password"
