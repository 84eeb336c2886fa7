"""TLS in front of a server of the tests, with certificates made for it."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


class TlsProxy:
    """TLS in front of a server: the wheel's Valkey is built without it.

    Attributes:
        ca: file with the certificate of the issuer, which clients must trust.
        context: of a server for 127.0.0.1.
    """

    def __init__(self, folder: Path) -> None:
        """Make the certificates; the server's is for 127.0.0.1."""
        self.ca = folder / "ca.pem"
        key = ec.generate_private_key(ec.SECP256R1())
        ca = _certificate("our CA", key.public_key(), "our CA", key)
        self.ca.write_bytes(ca.public_bytes(Encoding.PEM))
        own = ec.generate_private_key(ec.SECP256R1())
        chain = folder / "server.pem"
        chain.write_bytes(
            _certificate("server", own.public_key(), "our CA", key).public_bytes(Encoding.PEM)
            + own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(chain)

    @asynccontextmanager
    async def before(self, port: int, own: int = 0) -> AsyncIterator[str]:
        """Listen for a server; yields host and port."""
        pumps: set[asyncio.Task[None]] = set()

        async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
            for source, sink in ((reader, far_writer), (far_reader, writer)):
                pumps.add(asyncio.create_task(_pump(source, sink)))

        server = await asyncio.start_server(connect, "127.0.0.1", own, ssl=self.context)
        try:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            await asyncio.gather(*pumps)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):  # the other side's end is ours
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    sink.close()


def _certificate(
    name: str,
    key: ec.EllipticCurvePublicKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    def called(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    return (
        x509.CertificateBuilder()
        .subject_name(called(name))
        .issuer_name(called(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=name == issuer, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        # From Python 3.13 on a certificate without these is not taken (RFC 5280, 4.2.1).
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .add_extension(_usage(signs=name == issuer), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
