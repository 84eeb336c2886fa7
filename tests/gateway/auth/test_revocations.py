"""Which tokens are refused after a revocation, and what a store that loses data changes."""

from __future__ import annotations

import pytest

from ime_live.errors import AuthenticationError, RefusedError
from ime_live.gateway.auth.identity import Identity
from ime_live.gateway.auth.revocations import Revocations
from ime_live.store.revocation import Revocation, RevokedBy

NOW = 1_780_000_000


def token(subject: str = "alice", jti: str | None = None, issued: float | None = NOW) -> Identity:
    return Identity(subject, None, None, None, jti, issued)


def stored(*revocations: Revocation) -> dict[str, Revocation]:
    return {each.key: each for each in revocations}


def by_subject(name: str = "alice", moment: int = NOW, expires: int = NOW + 60) -> Revocation:
    return Revocation(RevokedBy.SUBJECT, name, moment, expires)


def is_refused(revocations: Revocations, identity: Identity) -> bool:
    try:
        revocations.check(identity)
    except AuthenticationError as error:
        return error.reason == "invalid token"
    return False


def test_tokens_are_refused_until_the_revocations_are_known() -> None:
    revocations = Revocations()
    with pytest.raises(RefusedError) as caught:
        revocations.check(token())
    assert (caught.value.code, caught.value.reason) == (1013, "revocations are not loaded yet")
    revocations.merge({}, NOW)
    revocations.check(token())


def test_subject_is_refused_unless_its_token_was_issued_later() -> None:
    revocations = Revocations()
    revocations.merge(stored(by_subject()), NOW)
    assert is_refused(revocations, token(issued=NOW - 1))
    assert is_refused(revocations, token(issued=NOW + 0.5))
    assert is_refused(revocations, token(issued=None))
    assert not is_refused(revocations, token(issued=NOW + 1))
    assert not is_refused(revocations, token("bob", issued=NOW - 1))


def test_token_is_refused_by_its_id() -> None:
    revocations = Revocations()
    revocations.merge(stored(Revocation(RevokedBy.TOKEN_ID, "7", NOW, 0)), NOW)
    assert is_refused(revocations, token(jti="7", issued=NOW + 1000))
    assert not is_refused(revocations, token(jti="8"))
    assert not is_refused(revocations, token(jti=None))


def test_revocation_that_the_store_has_lost_stays_until_it_is_over() -> None:
    changes = []
    revocations = Revocations(on_change=lambda: changes.append(1))
    revocations.merge(stored(by_subject()), NOW)
    assert revocations.merge({}, NOW + 1) == [by_subject()]
    assert is_refused(revocations, token())
    older = by_subject(moment=NOW - 100)
    assert revocations.merge(stored(older), NOW + 1) == [by_subject()]
    assert is_refused(revocations, token(issued=NOW - 1))
    assert revocations.merge({}, NOW + 60) == []
    assert not is_refused(revocations, token())
    assert changes == [1]


def test_later_revocation_replaces_an_earlier_one() -> None:
    revocations = Revocations()
    revocations.merge(stored(by_subject()), NOW)
    assert revocations.merge(stored(by_subject(moment=NOW + 50)), NOW) == []
    assert is_refused(revocations, token(issued=NOW + 20))
