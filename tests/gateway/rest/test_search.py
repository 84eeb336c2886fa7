"""The search: by name, old name and title, in every spelling, of the registry that is current."""

from __future__ import annotations

from ime_live.contracts import Contract, Market
from ime_live.gateway.rest.search import Search
from ime_live.registry import Registry
from tests.support.rows import each_row

REGISTRY = Registry(
    [
        Contract(contract_id="1", contract_name="KASH05C250", market=Market.OPTION, title="خريد"),
        Contract(contract_id="2", contract_name="KASH05P250", market=Market.OPTION, title="فروش"),
        Contract(contract_id="3", contract_name="KASH05", market=Market.FUTURES),
        Contract(
            contract_id="4",
            contract_name="سكه0312پ01",
            market=Market.DEPOSIT_CERTIFICATE,
            title="تمام سكه رفاه",
            aliases=("OLD1",),
        ),
        Contract(contract_id="5", contract_name="KASH-of-no-market"),
    ]
)


@each_row(
    ("market", "text", "ids"),
    [
        (Market.OPTION, "KASH05C", "1"),
        (Market.OPTION, "KASH05", "12"),
        (Market.OPTION, "", "12"),
        (Market.OPTION, "خرید", "1"),
        (Market.OPTION, "kash", ""),
        (Market.OPTION, "50خ", ""),  # the end of a name and the beginning of a title
        (Market.FUTURES, "KASH", "3"),
        (Market.DEPOSIT_CERTIFICATE, "سکه۰۳۱۲", "4"),
        (Market.DEPOSIT_CERTIFICATE, "رفاه", "4"),
        (Market.DEPOSIT_CERTIFICATE, "OLD", "4"),
        (Market.DEPOSIT_CERTIFICATE, "تمام‌سِکّـه ر", "4"),
        (Market.DEPOSIT_CERTIFICATE, "سکه 0312 پ", "4"),
    ],
)
def test_search_finds_contracts_by_parts_of_names(market: Market, text: str, ids: str) -> None:
    found = Search().find(REGISTRY, market, text)
    assert "".join(contract.contract_id for contract in found) == ids


def test_changed_registry_is_searched_again() -> None:
    search = Search()
    new = Contract(contract_id="6", contract_name="KASH06", market=Market.FUTURES)
    assert len(search.find(REGISTRY, Market.FUTURES, "KASH")) == 1
    changed = REGISTRY.with_changes([new], removed=["3"])
    assert search.find(changed, Market.FUTURES, "KASH") == [new]
    assert search.find(Registry(), Market.FUTURES, "") == []
