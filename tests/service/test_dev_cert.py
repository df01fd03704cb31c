"""The local certificate, as a TLS client sees it."""

import re
import shlex
import ssl
import stat
from pathlib import Path

import pytest

from service.dev_cert import DevCertError, make_dev_cert


def handshake(folder: Path, host: str) -> None:
    """A client that trusts the authority of the folder meets a server with its certificate. Raises `ssl.SSLError`."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    trusting = ssl.create_default_context(cafile=folder / "ca.pem")
    trusting.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    client = trusting.wrap_bio(to_client, to_server, server_hostname=host)
    for end in (client, server, client, server):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "paint.example", "192.0.2.7"])
def test_a_client_that_trusts_the_authority_accepts_it(tmp_path: Path, host: str) -> None:
    make_dev_cert(tmp_path, ["paint.example", "192.0.2.7"], force=False)
    handshake(tmp_path, host)


def test_no_other_host_is_accepted(tmp_path: Path) -> None:
    make_dev_cert(tmp_path, [], force=False)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, "example.com")


def test_files_are_for_their_owner_and_the_authoritys_key_is_not_among_them(tmp_path: Path) -> None:
    make_dev_cert(tmp_path / "new" / "folder", [], force=False)
    files = sorted((tmp_path / "new" / "folder").iterdir())
    assert [file.name for file in files] == ["ca.pem", "cert.pem", "key.pem"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert [file.name for file in files if "PRIVATE KEY" in file.read_text()] == ["key.pem"]


def test_nothing_is_replaced_unless_told_to(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("precious")
    with pytest.raises(DevCertError, match=r"key\.pem is there already; --force replaces it"):
        make_dev_cert(tmp_path, [], force=False)
    assert [path.name for path in tmp_path.iterdir()] == ["key.pem"]
    make_dev_cert(tmp_path, [], force=True)
    handshake(tmp_path, "localhost")
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600


def test_it_tells_what_to_do_next(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    lines = make_dev_cert(folder, ["paint.example"], force=False)
    assert re.fullmatch(
        r"A certificate for 127\.0\.0\.1, ::1, localhost, paint\.example, until \d{4}-\d\d-\d\d, is in .*", lines[0]
    )
    assert shlex.split(lines[1]) == [
        *("latentcast", "serve", "--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem"))
    ]
    ca = folder / "ca.pem"
    assert shlex.split(lines[3]) == ["export", f"SSL_CERT_FILE={ca}", f"NODE_EXTRA_CA_CERTS={ca}"]


def test_faults_are_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DevCertError, match=r"--host bücher\.example: must be a host's name in ASCII, or an address"):
        make_dev_cert(tmp_path, ["bücher.example"], force=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(DevCertError, match=r"ca\.pem cannot be written: File exists"):
        make_dev_cert(tmp_path / "file", [], force=False)
