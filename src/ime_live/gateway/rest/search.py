"""Search: the contracts whose name or title holds a text.

A registry, a market and a text come in, contracts go out. Pure. It must not know who asks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ime_live.contracts import Contract, Market, Registry, fold_name


class Search:
    """Looks through the registry that is current, whose texts it prepares once.

    To fold the names and titles of a thousand contracts takes some 10 ms, to look through them
    0.1 ms; a registry changes a few times a day.
    """

    def __init__(self) -> None:
        self._registry: Registry | None = None
        self._texts: dict[Market, list[tuple[str, Contract]]] = {}

    def find(self, registry: Registry, market: Market, text: str) -> Sequence[Contract]:
        """The contracts of a market whose name, an old one included, or title holds ``text``.

        Spellings count as in `fold_name`: letters of Arabic keyboards, digits and joiners are
        equal, upper and lower case are not.
        """
        if registry is not self._registry:
            self._prepare(registry)
        wanted = fold_name(text)
        return [contract for held, contract in self._texts.get(market, ()) if wanted in held]

    def _prepare(self, registry: Registry) -> None:
        texts = defaultdict(list)
        for contract in registry:
            if contract.market is not None:
                # A line each, so that no text is found across the end of a name.
                held = "\n".join(map(fold_name, (*contract.names, contract.title or "")))
                texts[contract.market].append((held, contract))
        self._texts, self._registry = dict(texts), registry
