"""How a client refers to a contract: by name or by id, in its own spelling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

from msgspec import Struct

from ime_live.gateway.hub import frames as wire


class By(StrEnum):
    """How the contracts of a request are named; the last part of its path."""

    NAME = "name"
    ID = "id"


class ContractRef(Struct, frozen=True, gc=False):
    """One contract as a client named it; its messages name it in the same way.

    Attributes:
        by: whether ``name`` is a name or an id.
        name: as the client sent it.
        envelope: the beginning of the messages, made once; see `wire.message`.
    """

    by: By
    name: str
    envelope: bytes

    @classmethod
    def of(cls, by: By, name: str) -> ContractRef:
        """Return the reference of a contract that was asked for so."""
        return cls(by, name, _ENVELOPE_OF[by](name))


# A look-up, because naming a member of an enum takes a third of a microsecond in CPython 3.11.
_ENVELOPE_OF: Final[Mapping[By, Callable[[str], bytes]]] = {
    By.NAME: wire.envelope_by_name,
    By.ID: wire.envelope_by_id,
}
