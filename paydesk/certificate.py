"""A certificate for this machine, by an authority that signs nothing else and keeps no key."""

import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFE = timedelta(days=365)
_RENEWED_BEFORE = timedelta(days=14)
_SINCE = timedelta(hours=1)  # A clock that is a little behind takes it, too.
_NAMES = [
    x509.DNSName("localhost"),
    x509.IPAddress(IPv4Address("127.0.0.1")),
    x509.IPAddress(IPv6Address("::1")),
]
# Whoever trusts the authority trusts it for these alone.
_REALM = [
    x509.DNSName("localhost"),
    x509.IPAddress(IPv4Network("127.0.0.1/32")),
    x509.IPAddress(IPv6Network("::1/128")),
]


@dataclass(frozen=True)
class Certificate:
    """Files in PEM: the authority to be trusted, the certificate, and its private key."""

    authority: Path
    chain: Path
    key: Path

    @property
    def client(self) -> ssl.SSLContext:
        """How a client trusts it."""
        return ssl.create_default_context(cafile=str(self.authority))


def local_certificate(folder: Path) -> Certificate:
    """The certificate in `folder`, made where there is none or it ends within two weeks."""
    made = Certificate(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    if not _good(made):
        folder.mkdir(parents=True, exist_ok=True)
        _make(made)
    return made


def _good(made: Certificate) -> bool:
    if not all(path.exists() for path in (made.authority, made.chain, made.key)):
        return False
    try:
        certificate = x509.load_pem_x509_certificate(made.chain.read_bytes())
        authority = x509.load_pem_x509_certificate(made.authority.read_bytes())
        certificate.verify_directly_issued_by(authority)
        key = load_pem_private_key(made.key.read_bytes(), password=None)
    except (ValueError, TypeError, InvalidSignature):
        return False
    # Whoever was stopped between the files left a key that is not the certificate's.
    if key.public_key() != certificate.public_key():
        return False
    return certificate.not_valid_after_utc - datetime.now(UTC) > _RENEWED_BEFORE


def _make(made: Certificate) -> None:
    # The authority's key is in memory only, so nobody ever signs another certificate with it.
    signing, serving = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = _name(f"Paydesk on this machine, {datetime.now(UTC):%Y-%m-%d}")
    authority = (
        _begun(issuer, issuer, signing)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.NameConstraints(_REALM, None), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(signing.public_key()), False)
        .sign(signing, SHA256())
    )
    certificate = (
        _begun(_name("localhost"), issuer, serving)
        .add_extension(x509.SubjectAlternativeName(_NAMES), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), False
        )
        .sign(signing, SHA256())
    )
    secret = serving.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write(made.key, secret)
    _write(made.chain, certificate.public_bytes(Encoding.PEM))
    _write(made.authority, authority.public_bytes(Encoding.PEM))


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SINCE)
        .not_valid_after(now + _LIFE)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
