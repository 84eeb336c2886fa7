"""The contracts that a recorder records: found by name, id, pattern, market and underlying."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import pytest

from ime_live.archive.listing import RecordingSelection, read_listing
from ime_live.client.rest.async_client import AsyncClient
from ime_live.contracts import Contract, Market
from ime_live.errors import SettingsError, UnknownContractError
from tests.support.rows import each_row

FUTURE = Contract(
    contract_id="1",
    contract_name="GCAB05",
    market=Market.FUTURES,
    underlying_id="IRG1",
    underlying_name="سكه طلا",
    aliases=("OLDA05",),
)
OPTION = Contract(
    contract_id="2", contract_name="GCC1", market=Market.OPTION, underlying_name="GCAB05"
)
FUND = Contract(contract_id="3", contract_name="طلا")  # without a market
EXPIRED = Contract(
    contract_id="4",
    contract_name="GCC0",
    market=Market.OPTION,
    underlying_name="GCAB05",
    expired=True,
)


class Calls:
    """The two calls of a client that a listing makes."""

    async def search(self, market: Market, text: str) -> list[Contract]:
        assert text == ""
        return [each for each in (FUTURE, OPTION, EXPIRED) if each.market is market]

    async def contracts(
        self, contract_names: Iterable[str] = (), contract_ids: Iterable[str] = ()
    ) -> list[Contract | None]:
        every = (FUTURE, OPTION, FUND, EXPIRED)
        by_name: dict[str, Contract] = {each.contract_name: each for each in every}
        by_id: dict[str, Contract] = {each.contract_id: each for each in every}
        return [by_name.get(n) for n in contract_names] + [by_id.get(i) for i in contract_ids]


CLIENT = cast("AsyncClient", Calls())


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ({"all": True}, {"1", "2"}),
        ({"markets": (Market.OPTION,)}, {"2"}),
        ({"markets": (Market.OPTION, Market.FUTURES)}, {"1", "2"}),
        ({"underlyings": ("GCAB05",)}, {"2"}),
        ({"underlyings": ("IRG1",)}, {"1"}),
        ({"underlyings": ("سکه طلا",)}, {"1"}),  # in another spelling
        ({"names": ("GCC1",)}, {"2"}),
        ({"names": ("3", "GCC1")}, {"2", "3"}),
        ({"names": ("GCC0",), "markets": (Market.FUTURES,)}, {"1", "4"}),
        ({"names": ("طلا",), "markets": (Market.FUTURES,)}, {"1", "3"}),
        ({"names": ("GC*",)}, {"1", "2"}),
        ({"names": ("GC[AB]*", "?CC*", "gc*")}, {"1", "2"}),  # as the gateway reads patterns
        ({"names": ("OLD*",)}, {"1"}),  # a former name
        ({"names": ("GC*1", "*5"), "markets": (Market.OPTION,)}, {"2"}),
        ({"names": ("1",), "markets": (Market.OPTION,), "underlyings": ("GCAB05",)}, {"1", "2"}),
        ({"all": True, "underlyings": ("GCAB05",)}, {"2"}),
    ],
)
async def test_contracts_are_found_by_name_id_pattern_market_and_underlying(
    wanted: dict[str, Any], ids: set[str]
) -> None:
    assert (await read_listing(CLIENT, RecordingSelection(**wanted))).keys() == ids


@each_row(
    ("names", "contract", "is_named"),
    [
        ((), OPTION, False),
        (("GCC1",), OPTION, True),  # recorded in any case, so also when it leaves the market
        (("2",), OPTION, True),
        (("OLDA05",), FUTURE, True),
        (("GCC1",), FUTURE, False),
        (("GCC*",), OPTION, False),
    ],
)
def test_stream_of_a_market_has_the_ids_of_named_contracts(
    names: tuple[str, ...], contract: Contract, is_named: bool
) -> None:
    assert RecordingSelection(names=names, markets=(Market.OPTION,)).is_named(contract) is is_named


@each_row(
    ("wanted", "parts"),
    [
        ({"names": ("GCC1",)}, None),
        ({"all": True}, ((), ("*",), ())),
        ({"names": ("GCC1", "GC*")}, ((), ("name:GC*",), ())),
        ({"names": ("*",), "markets": (Market.OPTION,)}, (("IMEOption",), ("name:*",), ())),
        ({"underlyings": ("KA",)}, ((), ("*",), ("KA",))),
    ],
)
def test_stream_has_the_filter(wanted: dict[str, Any], parts: tuple[Any, ...] | None) -> None:
    found = RecordingSelection(**wanted).filter
    assert (found and (found.markets, found.patterns, found.underlyings)) == parts


async def test_named_contract_has_its_market() -> None:
    found = await read_listing(CLIENT, RecordingSelection(names=("GCC1",)))
    assert found["2"].market is Market.OPTION


async def test_unknown_names_are_an_error_that_lists_them() -> None:
    with pytest.raises(UnknownContractError, match=r"unknown contract: X, Y$"):
        await read_listing(CLIENT, RecordingSelection(names=("X", "GCC1", "Y")))


async def test_name_that_is_gone_later_is_left_out() -> None:
    found = await read_listing(
        CLIENT, RecordingSelection(names=("X", "GCC1")), known_ids=["2", "9"]
    )
    assert found.keys() == {"2"}


async def test_listing_without_a_match_is_an_error() -> None:
    with pytest.raises(UnknownContractError, match="no contract matches"):
        await read_listing(
            CLIENT, RecordingSelection(markets=(Market.FUTURES,), underlyings=("GCAB05",))
        )


def test_listing_without_a_selection_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least one contract must be given, got none"):
        RecordingSelection()
