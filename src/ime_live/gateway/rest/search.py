"""Search the contracts of a market by a text in their names and titles. No I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ime_live.contracts import Contract, Market
from ime_live.registry import Registry
from ime_live.spelling import fold_name


class Search:
    """Searches a registry, whose names and titles are folded once.

    With a thousand contracts, folding takes about 10 ms, and a search 0.1 ms. A registry changes
    a few times a day.
    """

    def __init__(self) -> None:
        self._registry: Registry | None = None
        self._texts: dict[Market, list[tuple[str, Contract]]] = {}

    def find(self, registry: Registry, market: Market, text: str) -> Sequence[Contract]:
        """Return the contracts of a market with a text in a present or former name or the title.

        Texts are compared in the form of `fold_name`: Arabic and Persian letters and digits are
        equal, upper and lower case differ.

        Args:
            registry: the known contracts.
            market: the market.
            text: the text; an empty text matches all contracts.

        Returns:
            The contracts in the order of their names.
        """
        if registry is not self._registry:
            self._prepare(registry)
        folded = fold_name(text)
        return [contract for names, contract in self._texts.get(market, ()) if folded in names]

    def _prepare(self, registry: Registry) -> None:
        texts = defaultdict(list)
        for contract in sorted(registry, key=lambda each: (each.contract_name, each.contract_id)):
            if contract.market is not None:
                # One line per name, so that no match extends across two names.
                names = "\n".join(map(fold_name, (*contract.names, contract.title or "")))
                texts[contract.market].append((names, contract))
        self._texts, self._registry = dict(texts), registry
