"""Match contracts with the patterns in the claim ``contracts`` of a token."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from ime_live.contracts import Contract
from ime_live.spelling import fold, fold_name

_ID: Final = "id:"
_WILDCARDS: Final = "*?["


class Patterns:
    """Patterns, prepared for matching many contracts.

    ``KASH*`` is matched with the present and former names of a contract, ``id:12*`` with its id.
    The wildcards are those of `fnmatch` (``*``, ``?``, ``[seq]``), and upper and lower case differ.
    Patterns and names are compared in the forms of `fold` and `fold_name`. So a blank inside a
    Persian name may be missing, or be a joiner; a blank next to a wildcard must match.

    >>> Patterns(["KASH*"]).match(Contract(contract_id="1", contract_name="KASHF05"))
    True
    >>> Patterns(["id:2"]).match(Contract(contract_id="1", contract_name="KASHF05"))
    False
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        folded = [fold(pattern) for pattern in patterns]
        names = [p for p in folded if not p.startswith(_ID)]
        self._names = _Matcher([*names, *map(fold_name, names)])
        self._ids = _Matcher([fold(p.removeprefix(_ID)) for p in folded if p.startswith(_ID)])

    def match(self, contract: Contract) -> bool:
        """Return whether one of the patterns matches a contract."""
        return self._ids.match(_folded(contract.contract_id)) or any(
            self._names.match(form) for name in contract.names for form in _forms(name)
        )


class _Matcher:
    """Matches a text with several patterns; both must be folded."""

    def __init__(self, patterns: Iterable[str]) -> None:
        patterns = frozenset(patterns)
        globs = frozenset(p for p in patterns if any(c in p for c in _WILDCARDS))
        # A token may list hundreds of names, which one look-up in a set finds.
        self._plain = patterns - globs
        self._globs = tuple(_glob(p) for p in globs)

    def match(self, text: str) -> bool:
        return text in self._plain or any(glob.match(text) for glob in self._globs)


# Different tokens often have the same patterns. The caches are bounded, because issuers decide what
# tokens contain.
@lru_cache(maxsize=4096)
def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(pattern))


_folded = lru_cache(maxsize=16_384)(fold)


@lru_cache(maxsize=16_384)
def _forms(name: str) -> frozenset[str]:
    return frozenset({fold(name), fold_name(name)})
