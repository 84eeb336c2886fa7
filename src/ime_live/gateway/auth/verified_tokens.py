"""Cache verified tokens, so that the next connection of a client costs less. No I/O.

To parse a token and to verify its signature takes most of the time of an authentication. A cached
token is used only while the key that has signed it is present, and until the token expires. The
cache has the hashes of tokens, so no token stays in the memory of the process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Final, NamedTuple

from ime_live.gateway.auth.identity import Identity

MAX_TOKENS: Final = 10_000
"""Maximum number of cached tokens; the least recently used one is dropped first."""

MAX_LENGTH: Final = 2_048
"""Maximum size of a cached token [bytes]; the list of contracts in its identity takes as much."""


class _Verified(NamedTuple):
    key: object
    identity: Identity


class VerifiedTokens:
    """Cache of identities by the hashes of their tokens. Use it on one event loop only."""

    def __init__(self, max_tokens: int = MAX_TOKENS) -> None:
        """Create an empty cache.

        Args:
            max_tokens: maximum number of cached tokens.
        """
        self._max_tokens = max_tokens
        self._by_hash: dict[bytes, _Verified] = {}

    def __len__(self) -> int:
        return len(self._by_hash)

    def find(self, token: str, keys: Collection[object], now: float) -> Identity | None:
        """Return the cached identity of a token; None if the token must be verified.

        Args:
            token: the token.
            keys: the present keys.
            now: the present time [Unix seconds].
        """
        if len(token) > MAX_LENGTH:
            return None
        digest = _hash(token)
        verified = self._by_hash.pop(digest, None)
        if verified is None or not any(verified.key is key for key in keys):
            return None
        if not verified.identity.is_valid_at(now):
            return None
        self._by_hash[digest] = verified  # at the end, as the most recently used one
        return verified.identity

    def add(self, token: str, key: object, identity: Identity) -> None:
        """Add a token that ``key`` has verified."""
        if len(token) > MAX_LENGTH:
            return
        digest = _hash(token)
        self._by_hash.pop(digest, None)
        if len(self._by_hash) >= self._max_tokens:
            del self._by_hash[next(iter(self._by_hash))]
        self._by_hash[digest] = _Verified(key, identity)


def _hash(token: str) -> bytes:
    # Two tokens with the same hash would be a collision of SHA-256.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
