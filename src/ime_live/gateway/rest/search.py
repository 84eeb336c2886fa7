"""Search the contracts of a market by a text in their names and titles. No I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ime_live.contracts import Contract, Market
from ime_live.registry import Registry
from ime_live.spelling import fold_name


class Search:
    """Searches the present registry, and prepares its texts once.

    Folding the names and titles of a thousand contracts takes some 10 ms, searching them 0.1 ms;
    a registry changes a few times a day.
    """

    def __init__(self) -> None:
        self._registry: Registry | None = None
        self._texts: dict[Market, list[tuple[str, Contract]]] = {}

    def find(self, registry: Registry, market: Market, text: str) -> Sequence[Contract]:
        """Return the contracts of a market that have ``text`` in a present or old name, or title.

        They are in the order of their names. An empty text finds all.

        Spellings are compared as in `fold_name`: letters of Arabic keyboards, digits and joiners
        are equal, upper and lower case are not.
        """
        if registry is not self._registry:
            self._prepare(registry)
        wanted = fold_name(text)
        return [contract for held, contract in self._texts.get(market, ()) if wanted in held]

    def _prepare(self, registry: Registry) -> None:
        texts = defaultdict(list)
        for contract in sorted(registry, key=lambda each: (each.contract_name, each.contract_id)):
            if contract.market is not None:
                # One line per name, so that no match runs across the end of a name.
                held = "\n".join(map(fold_name, (*contract.names, contract.title or "")))
                texts[contract.market].append((held, contract))
        self._texts, self._registry = dict(texts), registry
