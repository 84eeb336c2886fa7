"""Registrar: contracts of boards are registered without losing known fields."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from ime_live.contracts import Contract
from ime_live.errors import FencedError
from ime_live.feeds.pipeline.registrar import SETTLEMENT_INTERVAL, Registrar
from ime_live.store.store import Store
from tests.feeds.pipeline.test_ingest import BOARD
from tests.support.clock import GivenClock


class TestRegistrar:
    async def test_contract_with_a_refused_change_stays_registered(self, store: Store) -> None:
        registrar = Registrar(store)
        contracts = [Contract(contract_id=i, contract_name=f"Name{i}") for i in "12"]
        assert await registrar.register(contracts) == {}
        assert await registrar.register([replace(contracts[1], contract_name="Name1")]) == {}
        assert {each.contract_name for each in await store.contracts()} == {"Name1", "Name2"}

    async def test_imported_fields_are_kept(self, store: Store) -> None:
        registrar = Registrar(store)
        by_hand = Contract(contract_id="1", contract_name="X1", owner="someone", title="old")
        await store.import_contracts([by_hand])

        pushed = Contract(contract_id="1", contract_name="New", title="new", board=BOARD)
        assert await registrar.register([pushed]) == {}

        [known] = await store.contracts()
        assert known == replace(pushed, owner="someone", aliases=("X1",))

    async def test_conflict_keeps_out_only_itself(self, store: Store) -> None:
        same = [Contract(contract_id=i, contract_name="Same") for i in "12"]
        refused = await Registrar(store).register(
            [*same, Contract(contract_id="3", contract_name="C")]
        )

        assert list(refused) == ["2"]
        assert "Same" in str(refused["2"])
        assert {c.contract_id for c in await store.contracts()} == {"1", "3"}

    async def test_unchanged_contract_is_not_written_again(self, store: Store) -> None:
        registrar = Registrar(store)
        pushed = Contract(contract_id="1", contract_name="New", title="new", board=BOARD)
        by_hand = replace(pushed, contract_name="Old", owner="someone")
        await store.import_contracts([by_hand])
        await registrar.register([pushed])
        await store.claim([], 20)  # from now on the store refuses writers that do not lead
        assert await registrar.register([pushed], token=10) == {}
        with pytest.raises(FencedError):
            await registrar.register([replace(pushed, title="newer")], token=10)

    async def test_settlement_of_today_is_registered_every_five_minutes(self, store: Store) -> None:
        now = 0.0
        registrar = Registrar(store, clock=GivenClock(monotonic=lambda: now))

        async def registered(price: float | None, **fields: Any) -> float | None:  # noqa: ANN401
            future = Contract(contract_id="1", contract_name="F", today_settlement=price, **fields)
            assert await registrar.register([future]) == {}
            [known] = await store.contracts()
            return known.today_settlement

        assert await registered(100.5) == 100.5
        now = SETTLEMENT_INTERVAL - 1
        assert await registered(101.5) == 100.5
        now = SETTLEMENT_INTERVAL
        assert await registered(102.5) == 102.5
        # With another change it is written at once, and another day begins without one.
        assert await registered(103.5, title="new") == 103.5
        assert await registered(None, title="new", settlement_price=103.5) is None

    async def test_settlement_that_a_board_no_longer_gives_is_dropped(self, store: Store) -> None:
        registrar = Registrar(store)
        before = Contract(
            contract_id="1", contract_name="F", settlement_price=5, price_limit_rule="F=0.05"
        )
        await registrar.register([before])
        await registrar.register([Contract(contract_id="1", contract_name="F")])
        assert await store.contracts() == [Contract(contract_id="1", contract_name="F")]

    async def test_claim_returns_registered_contracts_and_ages_of_states(
        self, store: Store
    ) -> None:
        contract = Contract(contract_id="1", contract_name="A", board=BOARD)
        await store.import_contracts([contract])
        pushed_at = {"1": datetime.fromisoformat("2026-11-26T13:26:05.51")}
        await store.publish([("1", b"{}"), ("2", b"{}"), ("3", b"{}")], 20, pushed_at)
        assert await Registrar(store).claim(["2"], 30) == ([contract], pushed_at)
        refused = await store.publish([("1", b"[]"), ("2", b"[]"), ("3", b"[]")], 20)
        assert [isinstance(each, FencedError) for each in refused] == [True, True, False]

    async def test_claim_does_without_a_contract_that_cannot_be_claimed(
        self,
        store: Store,
        redis: Any,  # noqa: ANN401 - redis-py's
    ) -> None:
        await redis.set("ime:last:{2}", "no hash")
        pushed_at = {"3": datetime.fromisoformat("2026-11-26")}
        await store.publish([("3", b"{}")], 20, pushed_at)
        assert await Registrar(store).claim(["1", "2", "3"], 30) == ([], pushed_at)
        [refused] = await store.publish([("3", b"[]")], 20)
        assert isinstance(refused, FencedError)

    async def test_conflicts_are_logged_once_with_their_number(self, store: Store) -> None:
        registrar = Registrar(store)
        same = [Contract(contract_id=str(n), contract_name="Same") for n in range(20)]
        with capture_logs() as logs:
            errors = await registrar.register(same)
            await registrar.register(same)
        assert len(errors) == 19
        assert [each["event"] for each in logs] == ["contract cannot be registered"]

    async def test_name_of_a_contract_that_is_gone_may_be_given_again(self, store: Store) -> None:
        registrar = Registrar(store)
        gone = Contract(contract_id="1", contract_name="Same", board=BOARD, delisted=True)
        assert await registrar.register([gone]) == {}
        assert await registrar.register([Contract(contract_id="2", contract_name="Same")]) == {}

        assert len(await store.contracts()) == 2
