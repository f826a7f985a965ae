"""A certificate authority for one VPN: it signs the server's certificate and each client's.

    python -m examples.tls_vpn server alice bob       # makes what is not there yet

Each file NAME.pem holds a private key and its certificate; ca.pem is the authority's
certificate, which everybody needs, and ca.key its private key, which stays at home.
"""

from __future__ import annotations

import os
import ssl
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage
from cryptography.x509.oid import NameOID

SERVER = "aiotun-vpn-server"
"""The server's name in its certificate: clients look for this, wherever the server is."""

LIFETIME = timedelta(days=365)

AUTHORITY: dict[x509.ExtensionType, bool] = {
    x509.BasicConstraints(ca=True, path_length=None): True,
    x509.KeyUsage(*(bit == 5 for bit in range(9))): True,  # keyCertSign (RFC 5280, 4.2.1.3)
}


def make_certificates(directory: Path, clients: list[str]) -> None:
    """Make what is not there yet: the authority, the server's certificate and the clients'."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (directory / "ca.key").exists():
        key = ec.generate_private_key(ec.SECP256R1())
        _write_key(directory / "ca.key", key)
        name = _name("aiotun-vpn-authority")
        (directory / "ca.pem").write_bytes(_certificate(name, key, name, key, AUTHORITY))
    issuer = x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes()).subject
    issuer_key = load_pem_private_key((directory / "ca.key").read_bytes(), None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    for who in (SERVER, *clients):
        path = directory / f"{who}.pem"
        if not path.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            usage = Usage.SERVER_AUTH if who == SERVER else Usage.CLIENT_AUTH
            extensions = {
                x509.SubjectAlternativeName([x509.DNSName(who)]): False,
                x509.ExtendedKeyUsage([usage]): False,
            }
            _write_key(path, key, _certificate(_name(who), key, issuer, issuer_key, extensions))


def tls_context(certificate: Path, authority: Path, *, server: bool) -> ssl.SSLContext:
    """TLS 1.3 alone, and no peer without a certificate of the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate)
    context.load_verify_locations(authority)
    return context


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _certificate(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    extensions: dict[x509.ExtensionType, bool],
) -> bytes:
    """As PEM; with these extensions, critical or not."""
    now = datetime.now(timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
    )
    identifiers = {
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()): False,
        x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()): False,
    }
    for extension, critical in (identifiers | extensions).items():
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey, certificate: bytes = b"") -> None:
    """For its owner's eyes only, from the start."""
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text + certificate)
