"""`latentcast dev-cert`: a certificate for this machine, and the authority that clients can be told to trust."""

import datetime
import ipaddress
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOCAL_HOSTS = ("127.0.0.1", "::1", "localhost")
VALID_DAYS = 397  # browsers take no certificate that is valid for longer
CLOCK_SKEW = datetime.timedelta(hours=1)


class DevCertError(Exception):
    """There is no certificate; the message is one line."""


def make_dev_cert(folder: Path, hosts: Sequence[str], *, force: bool) -> list[str]:
    """Writes `ca.pem`, `cert.pem` and `key.pem`, readable for their owner alone; the lines to tell a person.

    The authority's own key is never written, so nobody can ever sign anything else with it. Raises `DevCertError`.
    """
    names = list(dict.fromkeys([*LOCAL_HOSTS, *hosts]))
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=VALID_DAYS)
    ca, cert, key = (folder.resolve() / name for name in ("ca.pem", "cert.pem", "key.pem"))
    contents = dict(zip((ca, cert, key), _issue(names, until), strict=True))
    _write(contents, force=force)
    quoted = {path: shlex.quote(str(path)) for path in contents}
    return [
        f"A certificate for {', '.join(names)}, until {until:%Y-%m-%d}, is in {folder}. Start the service with",
        f"    latentcast serve --tls-cert {quoted[cert]} --tls-key {quoted[key]}",
        "and clients with",
        f"    export SSL_CERT_FILE={quoted[ca]} NODE_EXTRA_CA_CERTS={quoted[ca]}",
    ]


def _issue(hosts: Sequence[str], until: datetime.datetime) -> tuple[bytes, bytes, bytes]:
    """The authority's certificate, the service's, and the service's key, in PEM."""
    authority_key, service_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Latentcast local authority")])
    authority_id = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    authority = (
        _builder(authority_name, authority_name, authority_key.public_key(), until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    service_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Latentcast")])
    service = (
        _builder(service_name, authority_name, service_key.public_key(), until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_id), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = service_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return authority.public_bytes(pem), service.public_bytes(pem), private


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, until: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime.now(datetime.UTC) - CLOCK_SKEW)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as error:
        raise DevCertError(f"--host {host}: must be a host's name in ASCII, or an address") from error


def _write(contents: dict[Path, bytes], *, force: bool) -> None:
    taken = [path for path in contents if path.exists()]
    if taken and not force:
        raise DevCertError(f"{taken[0]} is there already; --force replaces it")
    for path, data in contents.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
        except OSError as error:
            raise DevCertError(f"{path} cannot be written: {error.strerror}") from error
