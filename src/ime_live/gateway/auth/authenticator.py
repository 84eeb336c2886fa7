"""Authenticate a client by its token, and return its `Identity`. No I/O.

`ime_live.gateway.auth.keys` loads the keys. No token, and no part of one, gets into a message, a
log line or a repr.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, Self

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.errors import AuthenticationError
from ime_live.gateway.auth.identity import ANONYMOUS, Identity, Refusal, identity_from
from ime_live.gateway.auth.revocations import Revocations
from ime_live.gateway.auth.signed_token import Key, SignedToken
from ime_live.gateway.auth.verified_tokens import VerifiedTokens

SUBPROTOCOL: Final = "ime-live"
"""The WebSocket subprotocol to select, and the only one that is ever echoed."""

_TOKEN_SUBPROTOCOL: Final = "token."  # noqa: S105 - the prefix of a token, not one


def find_token(
    authorization: str | None, subprotocols: Sequence[str], query_token: str | None
) -> str | None:
    """Return the token that a client sends, or None.

    The header comes first, then the subprotocol, then the query. The first that holds a token
    decides; if that one is bad, the others are not tried.

    Args:
        authorization: the ``Authorization`` header: ``<token>`` or ``Bearer <token>``. Another
            scheme, such as a proxy's ``Basic``, is ignored.
        subprotocols: the list in ``Sec-WebSocket-Protocol``. A browser's script cannot set any
            other header, so it offers ``ime-live`` and ``token.<token>``.
        query_token: the parameter ``token`` of the URL, decoded.
    """
    match (authorization or "").split():
        case [word] if word.lower() != "bearer":
            return word
        case [scheme, token] if scheme.lower() == "bearer":
            return token
    for protocol in map(str.strip, subprotocols):
        if protocol.startswith(_TOKEN_SUBPROTOCOL) and protocol != _TOKEN_SUBPROTOCOL:
            return protocol.removeprefix(_TOKEN_SUBPROTOCOL)
    return query_token or None


class KeySource(Protocol):
    """Provides keys to `JwtAuthenticator`."""

    @property
    def keys(self) -> Sequence[Key]:
        """The keys known now."""

    def reload(self) -> None:
        """Read the files again; never fails, and keeps the keys of one that cannot be read."""

    async def adopt(self, other: Self) -> None:
        """Have the keys of another source instead, and start what of it is not started.

        Raises:
            SettingsError: they cannot be loaded; then nothing has changed.
        """

    async def start(self) -> None:
        """Load the keys that are missing; never fails, and takes a few seconds at most."""

    async def aclose(self) -> None:
        """Stop, and release everything."""

    async def learn(self, algorithm: str, kid: str | None) -> bool:
        """Look for the key of a token that no key in `keys` verifies; return whether to try again.

        Raises:
            RefusedError: with code 1013: the key may exist, but cannot be loaded now.
        """


class Authenticator(Protocol):
    """Checks the tokens of clients."""

    def reload(self) -> None:
        """Read the files of keys again; never fails."""

    async def adopt(self, other: Self) -> None:
        """Have the keys and rules of another authenticator instead, which is used no more.

        Raises:
            SettingsError: its keys cannot be loaded; then nothing has changed.
        """

    def check(self, identity: Identity) -> None:
        """Check the token of a known client again; raises as `authenticate`."""

    async def start(self) -> None:
        """Start background tasks; never fails, and takes a few seconds at most."""

    async def aclose(self) -> None:
        """End background tasks."""

    async def authenticate(self, token: str | None) -> Identity:
        """Return the identity of the client that sends ``token``.

        Raises:
            AuthenticationError: the token is missing or bad; code 1008, reason a `Refusal`.
            RefusedError: the token cannot be checked now; code 1013.
        """


class NoAuthenticator:
    """``--auth none``: needs no token, and lets every client see everything."""

    def reload(self) -> None:
        """Do nothing: there are no keys."""

    async def adopt(self, other: NoAuthenticator) -> None:
        """Do nothing: there are no keys."""

    def check(self, identity: Identity) -> None:
        """Do nothing: every client is accepted."""

    async def start(self) -> None:
        """Do nothing: there are no background tasks."""

    async def aclose(self) -> None:
        """Do nothing: there are no background tasks."""

    async def authenticate(self, token: str | None) -> Identity:
        """Return the anonymous identity, with any token or none."""
        return Identity(ANONYMOUS, None, None)


class JwtAuthenticator:
    """``--auth jwt``: accepts a token if one of the keys has signed it and its claims are valid."""

    def __init__(
        self,
        keys: KeySource,
        audience: str | None = None,
        issuer: str | None = None,
        leeway: float = 0.0,
        clock: Clock = SYSTEM_CLOCK,
        revocations: Revocations | None = None,
    ) -> None:
        """Make an authenticator; see `identity_from` for the arguments.

        Args:
            keys: the keys that may sign tokens.
            audience: value that ``aud`` must be or contain.
            issuer: value that ``iss`` must be.
            leeway: seconds.
            clock: the machine's clock, for the times in tokens.
            revocations: tokens that are no longer accepted; None for none.
        """
        self._revocations = Revocations(loaded=True) if revocations is None else revocations
        self._keys = keys
        self._audience = audience
        self._issuer = issuer
        self._leeway = leeway
        self._clock = clock
        self._verified = VerifiedTokens()

    def reload(self) -> None:
        """Read the files of keys again; see `KeySource.reload`."""
        self._keys.reload()

    async def adopt(self, other: JwtAuthenticator) -> None:
        """Have the keys and rules of another authenticator, for tokens that come from now on.

        Args:
            other: the authenticator, not started, and used no more afterwards.

        Raises:
            SettingsError: its keys cannot be loaded; then nothing has changed.
        """
        await self._keys.adopt(other._keys)
        self._audience, self._issuer, self._leeway = other._audience, other._issuer, other._leeway
        self._verified = VerifiedTokens()  # verified by the former rules

    def check(self, identity: Identity) -> None:
        """Check the token of a client again: whether it was revoked since.

        Raises:
            AuthenticationError: it was; code 1008.
            RefusedError: that is not known yet; code 1013.
        """
        self._revocations.check(identity)

    async def start(self) -> None:
        """Load the keys."""
        await self._keys.start()

    async def aclose(self) -> None:
        """Release the keys."""
        await self._keys.aclose()

    async def authenticate(self, token: str | None) -> Identity:
        """Return the identity of the client; waits only if no known key has signed ``token``.

        Raises:
            AuthenticationError: the token is missing or bad; code 1008, reason a `Refusal`.
            RefusedError: the key that may have signed it cannot be loaded now, or the revocations
                are not known yet; code 1013.
        """
        identity = await self._verify(token)
        # Also for a token that is remembered: it may have been revoked since.
        self._revocations.check(identity)
        return identity

    async def _verify(self, token: str | None) -> Identity:
        if not token:
            raise AuthenticationError(Refusal.REQUIRED.value)
        if identity := self._verified.find(token, self._keys.keys, self._clock.time()):
            return identity
        signed = SignedToken(token)
        key = signed.signer(self._keys.keys)
        if key is None and await self._keys.learn(signed.algorithm, signed.kid):
            key = signed.signer(self._keys.keys)
        if key is None:
            raise AuthenticationError(Refusal.INVALID.value)
        identity = identity_from(
            signed.payload,
            audience=self._audience,
            issuer=self._issuer,
            leeway=self._leeway,
            now=self._clock.time(),
        )
        self._verified.add(token, key, identity)
        return identity
