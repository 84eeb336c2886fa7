"""Settings of authentication: whether tokens are required, and how they are checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ime_live.settings.option import Checked, option

MIN_SECRET_BYTES: Final = 32


class AuthMode(StrEnum):
    """How clients authenticate."""

    JWT = "jwt"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class JwtSettings(Checked):
    """Keys of tokens, and the claims that they must have."""

    jwt_secret: str = option(
        "",
        "Shared secret of HS256 tokens [at least 32 bytes]; empty accepts no such tokens.",
        secret=True,
        reloadable=True,
    )
    jwt_secret_file: str = option(
        "",
        "File with shared secrets of HS256 tokens, one per line [at least 32 bytes each]; it is "
        "read again when it changes. Empty uses none.",
        metavar="FILE",
        reloadable=True,
    )
    jwt_public_key: str = option(
        "",
        "PEM file with the public key (RSA, EC P-256 or Ed25519) that verifies tokens; it is read "
        "again when it changes. Empty uses none.",
        metavar="FILE",
        reloadable=True,
    )
    jwks: str = option(
        "",
        "JWKS file or URL with the issuer's keys; a file may hold shared secrets (oct), and is "
        "read again when it changes. Empty uses none.",
        metavar="FILE|URL",
        reloadable=True,
    )
    jwt_audience: str = option(
        "", "Audience that tokens must have (claim aud); empty accepts any.", reloadable=True
    )
    jwt_issuer: str = option(
        "", "Issuer that tokens must have (claim iss); empty accepts any.", reloadable=True
    )
    jwt_leeway: float = option(
        0.0,
        "Tolerance for differences to the issuer's clock [seconds]; 0 allows none.",
        minimum=0,
        reloadable=True,
    )


@dataclass(frozen=True, kw_only=True)
class AuthSettings(JwtSettings):
    """Whether tokens are required, and how they are checked."""

    auth: AuthMode = option(
        AuthMode.JWT,
        "Authentication of clients: jwt requires a token, none does not. none needs a loopback "
        "address, and lets every program and web page on this machine connect.",
    )

    _keys_needed = True

    @property
    def has_keys(self) -> bool:
        """Whether there is a key to check tokens with."""
        return bool(self.jwt_secret or self.jwt_secret_file or self.jwt_public_key or self.jwks)

    def faults(self) -> Iterator[str]:
        """Yield an error message for each invalid value."""
        yield from super().faults()
        if self.auth is AuthMode.NONE:
            return
        if self._keys_needed and not self.has_keys:
            yield (
                "authentication must have a key, got none: set --jwt-secret, --jwt-public-key, "
                "--jwt-secret-file or --jwks (or --auth none on a loopback address)"
            )
        size = len(self.jwt_secret.encode())
        if self.jwt_secret and size < MIN_SECRET_BYTES:
            yield (
                f"--jwt-secret must have at least {MIN_SECRET_BYTES} bytes for HS256 (RFC 7518, "
                f"3.2), got {size}"
            )
