"""The certificate of the TLS listener."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from service.dev_cert import make_dev_cert
from service.settings import ServeSettings, SettingsError, load_settings
from service.tls import tls_context


@pytest.fixture
def certs(tmp_path: Path) -> Path:
    make_dev_cert(tmp_path, [], force=False)
    return tmp_path


def settings(**paths: Path) -> ServeSettings:
    return load_settings(ServeSettings, {name: str(path) for name, path in paths.items()})


def complaint(**paths: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        tls_context(settings(**paths))
    return str(caught.value)


def with_password(key: bytes) -> bytes:
    private = serialization.load_pem_private_key(key, password=None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def test_without_a_certificate_there_is_no_listener() -> None:
    assert tls_context(settings()) is None


def test_a_certificate_and_its_key(certs: Path) -> None:
    context = tls_context(settings(tls_cert=certs / "cert.pem", tls_key=certs / "key.pem"))
    assert context is not None
    assert context.cert_store_stats()["x509"] == 0


def test_one_without_the_other(certs: Path) -> None:
    expected = "--tls-cert and --tls-key go together: give both, or neither"
    assert complaint(tls_cert=certs / "cert.pem") == complaint(tls_key=certs / "key.pem") == expected


def test_a_file_that_is_not_there(certs: Path) -> None:
    cert, key, nowhere = certs / "cert.pem", certs / "key.pem", certs / "nowhere.pem"
    assert complaint(tls_cert=nowhere, tls_key=key) == f"--tls-cert {nowhere}: No such file or directory"
    assert complaint(tls_cert=cert, tls_key=nowhere) == f"--tls-key {nowhere}: No such file or directory"


def test_a_key_of_another_certificate(certs: Path) -> None:
    make_dev_cert(certs / "other", [], force=False)
    cert, key = certs / "cert.pem", certs / "other" / "key.pem"
    assert complaint(tls_cert=cert, tls_key=key) == (
        f"--tls-cert {cert} --tls-key {key}: the key is not the certificate's"
    )


def test_what_is_not_pem_and_a_key_with_a_password(certs: Path) -> None:
    cert, key, locked, text = (certs / name for name in ("cert.pem", "key.pem", "locked.pem", "text.pem"))
    text.write_text("hello")
    locked.write_bytes(with_password(key.read_bytes()))
    expected = "must be a certificate and its key in PEM, the key without a password"
    for wrong_cert, wrong_key in ((text, key), (cert, text), (cert, locked)):
        assert complaint(tls_cert=wrong_cert, tls_key=wrong_key) == (
            f"--tls-cert {wrong_cert} --tls-key {wrong_key}: {expected}"
        )
