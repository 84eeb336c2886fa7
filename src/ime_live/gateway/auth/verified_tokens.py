"""Remember tokens that were verified, so that a client's next connection costs less.

To parse a token and to check its signature takes most of the time of an authentication. A
remembered token counts only while the key that has signed it is known, and while its own times
allow it: a key that is withdrawn, or a token that expires, is refused as if it had never been seen.
Tokens are kept by their hash, so the memory of the process holds none. No I/O.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Final, NamedTuple

from ime_live.gateway.auth.identity import Identity

MAX_TOKENS: Final = 10_000
"""Tokens that are remembered; the one that was used least recently makes room."""

MAX_LENGTH: Final = 2_048
"""A longer token is not remembered [bytes]: its list of contracts takes as much memory."""


class _Verified(NamedTuple):
    key: object
    identity: Identity


class VerifiedTokens:
    """Identities of tokens by the tokens' hashes. Use it on one event loop only."""

    def __init__(self, max_tokens: int = MAX_TOKENS) -> None:
        """Create an empty cache of at most ``max_tokens`` tokens."""
        self._max_tokens = max_tokens
        self._by_hash: dict[bytes, _Verified] = {}

    def __len__(self) -> int:
        return len(self._by_hash)

    def find(self, token: str, keys: Collection[object], now: float) -> Identity | None:
        """Return the identity of a token that is still valid; None if it must be verified.

        Args:
            token: as the client sends it.
            keys: those that are known now.
            now: Unix seconds.
        """
        if len(token) > MAX_LENGTH:
            return None
        digest = _hash(token)
        verified = self._by_hash.pop(digest, None)
        if verified is None or not any(verified.key is key for key in keys):
            return None
        if not verified.identity.is_valid_at(now):
            return None
        self._by_hash[digest] = verified  # as the one that was used last
        return verified.identity

    def add(self, token: str, key: object, identity: Identity) -> None:
        """Remember a token that ``key`` has verified."""
        if len(token) > MAX_LENGTH:
            return
        digest = _hash(token)
        self._by_hash.pop(digest, None)
        if len(self._by_hash) >= self._max_tokens:
            del self._by_hash[next(iter(self._by_hash))]
        self._by_hash[digest] = _Verified(key, identity)


def _hash(token: str) -> bytes:
    # To pass for another token, one would have to collide with it in SHA-256.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
