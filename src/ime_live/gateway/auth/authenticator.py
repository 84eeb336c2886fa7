"""Authenticate clients by their tokens. No I/O.

`ime_live.gateway.auth.keys` loads the keys. Error messages, log lines and reprs never contain a
token or a part of one.
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
"""The WebSocket subprotocol of the service, and the only one that is ever echoed."""

_TOKEN_SUBPROTOCOL: Final = "token."  # noqa: S105 - the prefix of a token, not one


def find_token(
    authorization: str | None, subprotocols: Sequence[str], query_token: str | None
) -> str | None:
    """Return the token in a request; None without one.

    The header takes precedence over the subprotocols, and these over the query. Only the first
    token is used, even if it is invalid.

    Args:
        authorization: the ``Authorization`` header: ``<token>`` or ``Bearer <token>``. Another
            scheme, such as ``Basic`` for a proxy, is ignored.
        subprotocols: the list in ``Sec-WebSocket-Protocol``. A script in a browser can set no other
            header of a handshake, so it offers ``ime-live`` and ``token.<token>``.
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
        """The present keys."""

    def reload(self) -> None:
        """Read changed files again; keep the keys of a file that cannot be read. Never raises."""

    async def adopt(self, other: Self) -> None:
        """Use the keys of another source, which is started if necessary.

        Raises:
            SettingsError: the keys cannot be loaded; the present keys are kept.
        """

    async def start(self) -> None:
        """Load missing keys. Never raises, and takes a few seconds at most."""

    async def aclose(self) -> None:
        """Stop background tasks, and release everything."""

    async def load_key(self, algorithm: str, kid: str | None) -> bool:
        """Try to load the key of a token that none of `keys` verifies.

        Args:
            algorithm: algorithm in the header of the token.
            kid: key id in the header of the token; None without one.

        Returns:
            Whether keys were loaded, so that the token should be verified again.

        Raises:
            RefusedError: 1013; the key may exist, but cannot be loaded now.
        """


class Authenticator(Protocol):
    """Checks the tokens of clients."""

    def reload(self) -> None:
        """Read changed files of keys again. Never raises."""

    async def adopt(self, other: Self) -> None:
        """Use the keys and rules of another authenticator, which must not be used afterwards.

        Raises:
            SettingsError: the keys cannot be loaded; the present keys and rules are kept.
        """

    def check(self, identity: Identity) -> None:
        """Check that the token of an authenticated client was not revoked since.

        Raises the errors of `authenticate`.
        """

    async def start(self) -> None:
        """Start background tasks. Never raises, and takes a few seconds at most."""

    async def aclose(self) -> None:
        """Stop background tasks."""

    async def authenticate(self, token: str | None) -> Identity:
        """Return the identity of the client that sends a token.

        Raises:
            AuthenticationError: 1008; the token is missing or not accepted. The reason is a
                `Refusal`.
            RefusedError: 1013; the token cannot be checked now.
        """


class NoAuthenticator:
    """``--auth none``: accepts clients without a token, and lets them see all contracts."""

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
        """Return the anonymous identity; the token is ignored."""
        return Identity(ANONYMOUS, None, None)


class JwtAuthenticator:
    """``--auth jwt``: accepts tokens that are signed by one of the keys and have valid claims."""

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
            audience: value that ``aud`` must be or contain; None for any.
            issuer: value that ``iss`` must be; None for any.
            leeway: time by which the issuer's clock may differ [s].
            clock: the machine's clock, for the times in tokens.
            revocations: the revoked tokens; None without revocations.
        """
        self._revocations = Revocations(loaded=True) if revocations is None else revocations
        self._keys = keys
        self._audience = audience
        self._issuer = issuer
        self._leeway = leeway
        self._clock = clock
        self._verified = VerifiedTokens()

    def reload(self) -> None:
        """Read changed files of keys again; see `KeySource.reload`."""
        self._keys.reload()

    async def adopt(self, other: JwtAuthenticator) -> None:
        """Use the keys and rules of another authenticator for all later tokens.

        Args:
            other: the authenticator; it must not be started before, nor used afterwards.

        Raises:
            SettingsError: the keys cannot be loaded; the present keys and rules are kept.
        """
        await self._keys.adopt(other._keys)
        self._audience, self._issuer, self._leeway = other._audience, other._issuer, other._leeway
        self._verified = VerifiedTokens()  # the old cache was filled by the former rules

    def check(self, identity: Identity) -> None:
        """Check that the token of an authenticated client was not revoked since.

        Raises:
            AuthenticationError: 1008; the token was revoked.
            RefusedError: 1013; the revocations are not loaded yet.
        """
        self._revocations.check(identity)

    async def start(self) -> None:
        """Load the keys."""
        await self._keys.start()

    async def aclose(self) -> None:
        """Release the keys."""
        await self._keys.aclose()

    async def authenticate(self, token: str | None) -> Identity:
        """Return the identity of a client. This waits only if no present key has signed the token.

        Raises:
            AuthenticationError: 1008; the token is missing or not accepted. The reason is a
                `Refusal`.
            RefusedError: 1013; the key of the token cannot be loaded now, or the revocations are
                not loaded yet.
        """
        identity = await self._verify(token)
        # A cached token may have been revoked, too.
        self._revocations.check(identity)
        return identity

    async def _verify(self, token: str | None) -> Identity:
        if not token:
            raise AuthenticationError(Refusal.REQUIRED.value)
        if identity := self._verified.find(token, self._keys.keys, self._clock.time()):
            return identity
        signed = SignedToken(token)
        key = signed.signer(self._keys.keys)
        if key is None and await self._keys.load_key(signed.algorithm, signed.kid):
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
