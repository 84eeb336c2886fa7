"""Refuse tokens that were revoked, by their id or by their subject. No I/O.

`ime_live.gateway.upstream.revocation_cache` reads the revocations from the store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ime_live.errors import AuthenticationError, CloseCode, RefusedError
from ime_live.gateway.auth.identity import Identity, Refusal
from ime_live.store.revocation import Revocation, RevokedBy

REVOKED: Final = "token revoked"
"""Kind of the refusal, for the log and metrics; the reason for clients is `Refusal.INVALID`."""


class Revocations:
    """The revocations of a gateway.

    A revocation is kept until it is over, even if the store no longer has it. So a store that has
    lost data makes no token valid again.
    """

    def __init__(
        self, *, loaded: bool = False, on_change: Callable[[], None] = lambda: None
    ) -> None:
        """Start without revocations.

        Args:
            loaded: whether the revocations count as loaded; if not, no token is accepted before
                `merge`.
            on_change: called when there are new revocations.
        """
        self.loaded = loaded
        """Whether the revocations of the store were merged at least once."""
        self._on_change = on_change
        self._by_key: dict[str, Revocation] = {}
        self._by_id: dict[str, Revocation] = {}
        self._by_subject: dict[str, Revocation] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def merge(self, stored: Mapping[str, Revocation], now: float) -> list[Revocation]:
        """Add the revocations of the store.

        Args:
            stored: the revocations in the store, by their keys.
            now: the present time [Unix seconds].

        Returns:
            Revocations that the store has lost, which should be stored again.
        """
        self.loaded = True
        missing, has_new = [], False
        for key, known in list(self._by_key.items()):
            if known.is_over(now):
                del self._by_key[key]
            elif key not in stored or stored[key].moment < known.moment:
                missing.append(known)
        for key, revocation in stored.items():
            previous = self._by_key.get(key)
            if revocation.is_over(now) or revocation == previous:
                continue
            if previous is None or revocation.moment >= previous.moment:
                self._by_key[key] = revocation
                has_new = True
        self._by_id = self._indexed(RevokedBy.TOKEN_ID)
        self._by_subject = self._indexed(RevokedBy.SUBJECT)
        if has_new:
            self._on_change()
        return missing

    def _indexed(self, by: RevokedBy) -> dict[str, Revocation]:
        return {each.name: each for each in self._by_key.values() if each.by is by}

    def check(self, identity: Identity) -> None:
        """Check that a token was not revoked.

        Raises:
            AuthenticationError: 1008; the token was revoked.
            RefusedError: 1013; the revocations are not loaded yet.
        """
        if not self.loaded:
            raise RefusedError("revocations are not loaded yet", code=CloseCode.TRY_AGAIN_LATER)
        if self._by_id and identity.token_id in self._by_id:
            raise _refusal("its jti was revoked")
        by_subject = self._by_subject.get(identity.subject) if self._by_subject else None
        # A token without a time of issue may be older than the revocation. Most times of issue are
        # whole seconds, rounded down.
        if by_subject is not None and (
            identity.issued is None or identity.issued < by_subject.moment + 1
        ):
            raise _refusal("its subject was revoked after it was issued")


def _refusal(detail: str) -> AuthenticationError:
    return AuthenticationError(Refusal.INVALID.value, kind=REVOKED, detail=detail)
