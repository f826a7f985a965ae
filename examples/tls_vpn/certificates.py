"""A certificate authority for one VPN: it signs the server's certificate and each client's.

    python -m examples.tls_vpn server alice bob       # makes what is not there yet

Each file NAME.pem holds a private key and its certificate; ca.pem is the authority's
certificate, which everybody needs, and ca.key its private key, which stays at home.
"""

from __future__ import annotations

import re
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

from aiotun.files import create_file

SERVER = "aiotun-vpn-server"
"""The server's name in its certificate: clients look for this, wherever the server is."""

RESERVED = ("ca", SERVER)

LIFETIME = timedelta(days=365)

AUTHORITY: dict[x509.ExtensionType, bool] = {
    x509.BasicConstraints(ca=True, path_length=None): True,
    x509.KeyUsage(*(bit == 5 for bit in range(9))): True,  # keyCertSign (RFC 5280, 4.2.1.3)
}


def client_name(text: str) -> str:
    """The text, if a client can have that name: one label of a domain's (RFC 1123, section 2.1).

    It becomes a file's name, which none of the VPN's own may be. Raises `ValueError`.
    """
    if not re.fullmatch(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)", text) or text.lower() in RESERVED:
        raise ValueError(
            f"{text!r} is no name for a client: it takes 1 to 63 letters, digits and hyphens, "
            f"and none of {', '.join(RESERVED)}"
        )
    return text


def make_certificates(directory: Path, clients: list[str]) -> None:
    """Make what is not there yet: the authority, the server's certificate and the clients'.

    Raises `ValueError` for a name that no client can have, before anything is made.
    """
    clients = [client_name(who) for who in clients]
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (directory / "ca.key").exists():
        create_file(directory / "ca.key", _pem(ec.generate_private_key(ec.SECP256R1())))
    issuer_key = load_pem_private_key((directory / "ca.key").read_bytes(), None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    if not (directory / "ca.pem").exists():
        name = _name("aiotun-vpn-authority")
        own = _certificate(name, issuer_key, name, issuer_key, AUTHORITY)
        create_file(directory / "ca.pem", own)
    issuer = x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes()).subject
    for who in (SERVER, *clients):
        path = directory / f"{who}.pem"
        if not path.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            usage = Usage.SERVER_AUTH if who == SERVER else Usage.CLIENT_AUTH
            extensions = {
                x509.SubjectAlternativeName([x509.DNSName(who)]): False,
                x509.ExtendedKeyUsage([usage]): False,
            }
            certificate = _certificate(_name(who), key, issuer, issuer_key, extensions)
            create_file(path, _pem(key) + certificate)


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


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
