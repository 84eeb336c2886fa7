"""Suggest a similar contract for an unknown name or id.

Only contracts that the client's token covers are suggested: others must not be revealed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Final

from msgspec import Struct

from ime_live.contracts import Contract
from ime_live.errors import UnknownContractError
from ime_live.gateway.hub.contract_ref import By
from ime_live.registry import Registry
from ime_live.spelling import fold_name

LONGEST_NAME: Final = 64
"""Longest text that is compared with names [characters]; a longer text is not a name."""

_SEPARATORS: Final = re.compile(r"[,،;؛|&]")

# Number of names with the most similar signatures, whose contracts are checked against the token.
_CANDIDATES: Final = 200

# Number of the visible candidates that are compared letter by letter.
_COMPARED: Final = 5

# Number of bits of a signature; more bits would not distinguish more names.
_BITS: Final = 251

_PARAMETER: Final = {By.NAME: "contract_names", By.ID: "contract_id"}

MaySee = Callable[[Contract], bool]


class Suggestion(Struct, frozen=True):
    """A sentence without a full stop, in English and in Persian."""

    en: str
    fa: str


class Suggestions:
    """Finds similar names in a registry, whose names are prepared once.

    With a thousand contracts, the preparation takes about 15 ms, and a search 0.5 ms.
    """

    def __init__(self) -> None:
        self._registry: Registry | None = None
        self._names: list[tuple[str, str]] = []
        """The folded form of each name, and the name."""
        self._signatures: list[tuple[int, int]] = []
        """The signature of each name, and the number of its bits that are set."""
        self._by_lower_case: dict[str, list[str]] = {}

    def find(self, by: By, name: str, registry: Registry, may_see: MaySee) -> Suggestion | None:
        """Return a suggestion for an unknown name or id; None if there is no similar contract.

        Args:
            by: whether ``name`` is a name or an id.
            name: the unknown name or id.
            registry: the known contracts.
            may_see: returns whether the client's token covers a contract.
        """
        # This depends on the text only, so it reveals no contract.
        if sum(1 for part in _SEPARATORS.split(name) if part.strip()) > 1:
            return _one_each(by)
        if len(name) > LONGEST_NAME:
            return None
        if registry is not self._registry:
            self._prepare(registry)
        if by is By.ID:
            return self._name_as_id(name, registry, may_see)
        text = fold_name(name).casefold()
        for candidate in self._visible(self._by_lower_case.get(text, ()), registry, may_see):
            return _other_case(candidate)
        with suppress(UnknownContractError):
            if may_see(contract := registry.by_id(name)):
                return _id_as_name(contract)
        # A contract that the token does not cover is treated like one that does not exist.
        nearest = self._nearest(text, registry, may_see)
        return None if nearest is None else _near(nearest)

    def _prepare(self, registry: Registry) -> None:
        self._names.clear()
        self._signatures.clear()
        self._by_lower_case.clear()
        for contract in registry:
            for name in contract.names:
                text = fold_name(name).casefold()
                signature = _signature(text)
                self._names.append((text, name))
                self._signatures.append((signature, signature.bit_count()))
                self._by_lower_case.setdefault(text, []).append(name)
        self._registry = registry

    def _name_as_id(self, name: str, registry: Registry, may_see: MaySee) -> Suggestion | None:
        names = [name, *self._by_lower_case.get(fold_name(name).casefold(), ())]
        for candidate in self._visible(names, registry, may_see):
            return _its_id(registry.by_name(candidate))
        return None

    def _nearest(self, text: str, registry: Registry, may_see: MaySee) -> str | None:
        signature = _signature(text)
        scores = [2 * (signature & s).bit_count() - size for s, size in self._signatures]
        # Sorting all scores takes a third of the time of heapq.nlargest.
        ranked = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)[:_CANDIDATES]
        texts = {name: candidate for candidate, name in map(self._names.__getitem__, ranked)}
        near: list[tuple[int, int, str]] = []
        for place, name in enumerate(self._visible(texts, registry, may_see)):
            if place == _COMPARED:
                break
            errors = distance(text, texts[name])
            if 3 * errors <= max(len(text), len(texts[name])):
                near.append((errors, place, name))
        return min(near)[2] if near else None

    @staticmethod
    def _visible(names: Iterable[str], registry: Registry, may_see: MaySee) -> Iterator[str]:
        """Yield the names whose present contracts the token covers."""
        for name in names:
            try:
                # A former name of one contract may be the present name of another.
                contract = registry.by_name(name)
            except UnknownContractError:
                continue
            if may_see(contract):
                yield name


def distance(one: str, other: str) -> int:
    """Return the edit distance: letters that are wrong, missing, extra, or swapped with the next.

    >>> distance("SAFRO01", "SAFOR01"), distance("SAFFOR1", "SAFOR01")
    (1, 2)
    """
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, match in enumerate(other, 1):
            best = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != match))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == match:
                best = min(best, last[j - 2] + 1)
            row.append(best)
    return row[-1]


def _signature(text: str) -> int:
    """Return a bit set with a bit for each pair of adjacent letters."""
    bits = 0
    padded = f"^{text}$"
    for one, other in pairwise(padded):
        bits |= 1 << (31 * ord(one) + ord(other)) % _BITS
    return bits


def _one_each(by: By) -> Suggestion:
    example = f"{_PARAMETER[by]}=A&{_PARAMETER[by]}=B"
    return Suggestion(
        f"give each contract in a parameter of its own, as in {example}",
        f"هر قرارداد را در پارامتر جداگانه بنویسید: {example}",
    )


def _other_case(name: str) -> Suggestion:
    return Suggestion(
        f"did you mean {name}? upper and lower case differ",
        f"آیا منظور {name} است؟ حروف بزرگ و کوچک متفاوت‌اند",
    )


def _near(name: str) -> Suggestion:
    return Suggestion(f"did you mean {name}?", f"آیا منظور {name} است؟")


def _id_as_name(contract: Contract) -> Suggestion:
    return Suggestion(
        f"it is the id of {contract.contract_name}: ask for the name, or by id",
        f"این شناسهٔ {contract.contract_name} است: نام را بنویسید یا با شناسه بپرسید",
    )


def _its_id(contract: Contract) -> Suggestion:
    return Suggestion(
        f"it is a name, of contract {contract.contract_id}: ask for the id, or by name",
        f"این نام قرارداد {contract.contract_id} است: شناسه را بنویسید یا با نام بپرسید",
    )
