"""Fields of revocations in the store, as we write them and as others may."""

from __future__ import annotations

import pytest

from ime_live.errors import PayloadError
from ime_live.store.revocation import Revocation, RevokedBy, read_revocation
from tests.support.rows import each_row


@each_row("name", ["alice", "a:b c", "سکه"])
def test_revocation_is_read_as_it_was_written(name: str) -> None:
    written = Revocation(RevokedBy.SUBJECT, name, 5, 0)
    assert read_revocation(written.key.encode(), written.text.encode()) == written
    assert not written.is_over(10**12)


@each_row(
    ("key", "value"),
    [
        (b"alice", b"5 0"),
        (b"sub:", b"5 0"),
        (b"iss:x", b"5 0"),
        (b"sub:x", b""),
        (b"sub:x", b"5"),
        (b"sub:x", b"-5 0"),
        (b"sub:x", b"5 0 0"),
        (b"sub:x", b"5 999999999999"),
        (b"sub:x", "٥ ٠".encode()),
    ],
)
def test_field_that_is_no_revocation_is_an_error(key: bytes, value: bytes) -> None:
    with pytest.raises(PayloadError, match="a revocation must have"):
        read_revocation(key, value)
