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
"""Kind of the refusal, for the log and the metrics; clients get `Refusal.INVALID`."""


class Revocations:
    """The revocations that a gateway knows.

    A revocation is forgotten only when it is over. So a store that has lost its data, or has come
    back with older data, makes no token valid again.
    """

    def __init__(self, *, loaded: bool = False, changed: Callable[[], None] = lambda: None) -> None:
        """Start without revocations.

        Args:
            loaded: whether that is all; if not, no token is accepted before `merge`.
            changed: called when there are new ones.
        """
        self.loaded = loaded
        """Whether the stored ones were read at least once."""
        self._changed = changed
        self._known: dict[str, Revocation] = {}
        self._by_id: dict[str, Revocation] = {}
        self._by_subject: dict[str, Revocation] = {}

    def __len__(self) -> int:
        return len(self._known)

    def merge(self, stored: Mapping[str, Revocation], now: float) -> list[Revocation]:
        """Add the revocations of the store.

        Args:
            stored: revocations by their keys.
            now: Unix seconds.

        Returns:
            Those that the store does not have and must have: it has lost them.
        """
        self.loaded = True
        missing, news = [], False
        for key, known in list(self._known.items()):
            if known.is_over(now):
                del self._known[key]
            elif key not in stored or stored[key].moment < known.moment:
                missing.append(known)
        for key, revocation in stored.items():
            before = self._known.get(key)
            if revocation.is_over(now) or revocation == before:
                continue
            if before is None or revocation.moment >= before.moment:
                self._known[key] = revocation
                news = True
        self._by_id = self._indexed(RevokedBy.TOKEN_ID)
        self._by_subject = self._indexed(RevokedBy.SUBJECT)
        if news:
            self._changed()
        return missing

    def _indexed(self, by: RevokedBy) -> dict[str, Revocation]:
        return {each.name: each for each in self._known.values() if each.by is by}

    def check(self, identity: Identity) -> None:
        """Check that a token was not revoked.

        Raises:
            AuthenticationError: it was revoked; code 1008.
            RefusedError: the revocations are not known yet; code 1013.
        """
        if not self.loaded:
            raise RefusedError("revocations are not loaded yet", code=CloseCode.TRY_AGAIN_LATER)
        if self._by_id and identity.token_id in self._by_id:
            raise _refusal("its jti was revoked")
        found = self._by_subject.get(identity.subject) if self._by_subject else None
        # One without a time of issue may be older. Times of issue are whole seconds, mostly.
        if found is not None and (identity.issued is None or identity.issued < found.moment + 1):
            raise _refusal("its subject was revoked after it was issued")


def _refusal(detail: str) -> AuthenticationError:
    return AuthenticationError(Refusal.INVALID.value, kind=REVOKED, detail=detail)
