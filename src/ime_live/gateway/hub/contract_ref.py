"""References to contracts as clients make them: by name or by id, in the client's spelling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final
from weakref import WeakValueDictionary

from ime_live.gateway.hub import frames as wire


class By(StrEnum):
    """Whether a request names its contracts by name or by id; the last segment of its path."""

    NAME = "name"
    ID = "id"


class ContractRef:
    """A contract as a client named it; the client's messages repeat this name.

    Clients that use the same name share one object: `of` returns the object in use, so two
    references are equal only if they are identical.

    Attributes:
        by: whether ``name`` is a name or an id.
        name: the name or id as the client sent it.
        envelope: the beginning of the messages, encoded once; see `wire.message`.
    """

    __slots__ = ("__weakref__", "by", "envelope", "name")

    def __init__(self, by: By, name: str) -> None:
        """Use `of` instead."""
        self.by = by
        self.name = name
        self.envelope = _ENVELOPE_OF[by](name)

    def __repr__(self) -> str:
        return f"ContractRef({self.by.value}={self.name!r})"

    @classmethod
    def of(cls, by: By, name: str) -> ContractRef:
        """Return the reference for a name or an id; make it if it is not in use."""
        ref = _in_use.get((by, name))
        if ref is None:
            ref = _in_use[by, name] = cls(by, name)
        return ref


_in_use: Final[WeakValueDictionary[tuple[By, str], ContractRef]] = WeakValueDictionary()

# A look-up, because access to a member of an enum takes a third of a microsecond in CPython 3.11.
_ENVELOPE_OF: Final[Mapping[By, Callable[[str], bytes]]] = {
    By.NAME: wire.envelope_by_name,
    By.ID: wire.envelope_by_id,
}
