"""Contracts that are added, renamed and removed under a running gateway."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ime_live.contracts import Contract
from ime_live.publisher import Publisher
from ime_live.store.store import Store
from tests.support.gateways import Gateway, closed, receive

Payload = Callable[..., dict[str, Any]]


async def _refusal(gateway: Gateway, name: str) -> str:
    """Return the close reason for a client of a contract; empty if it gets the contract."""
    async with gateway.by_name(name, snapshot="true") as client:
        try:
            await receive(client)
        except Exception:  # noqa: BLE001 - told apart by the reason
            return (await closed(client)).reason
    return ""


async def _until(gateway: Gateway, name: str, reason: str) -> None:
    for _ in range(500):
        if await _refusal(gateway, name) == reason:
            return
    raise AssertionError(f"{name} is still not as expected: {reason!r}")


async def test_added_contract_can_be_streamed_at_once(
    gateway: Gateway, store: Store, publisher: Publisher, payload: Payload
) -> None:
    contract = Contract(contract_id="800001", contract_name="GCOR01C11000")
    assert await _refusal(gateway, contract.contract_name) == "unknown contract: GCOR01C11000"
    await store.import_contracts([contract])
    await publisher.publish(contract.contract_id, payload())
    await _until(gateway, contract.contract_name, "")


async def test_renamed_contract_is_found_by_both_names(
    gateway: Gateway, store: Store, publisher: Publisher, payload: Payload
) -> None:
    old = Contract(contract_id="800002", contract_name="OLDNAME")
    await store.import_contracts([old])
    await publisher.publish(old.contract_id, payload())
    await _until(gateway, "OLDNAME", "")
    async with gateway.by_name("OLDNAME") as client:
        await store.import_contracts([Contract(contract_id="800002", contract_name="NEWNAME")])
        await _until(gateway, "NEWNAME", "")
        assert await _refusal(gateway, "OLDNAME") == ""
        # Present and new clients stream it under the name they asked for.
        async with gateway.by_name("OLDNAME", "NEWNAME") as both:
            await publisher.publish(old.contract_id, payload(Aggregate={"trade_count": 2}))
            assert (await receive(client))["contractName"] == "OLDNAME"
            assert (await receive(both))["contractName"] == "OLDNAME"


async def test_removed_contract_refuses_new_clients_and_keeps_the_old(
    gateway: Gateway, store: Store, publisher: Publisher, payload: Payload
) -> None:
    contract = Contract(contract_id="800003", contract_name="GONE")
    await store.import_contracts([contract])
    await publisher.publish(contract.contract_id, payload())
    await _until(gateway, "GONE", "")
    async with gateway.by_name("GONE") as client:
        await store.remove_contracts([contract.contract_id])
        await _until(gateway, "GONE", "unknown contract: GONE")
        await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": 2}))
        assert (await receive(client))["data"]["Aggregate"]["trade_count"] == 2
