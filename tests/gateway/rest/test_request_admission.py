"""Admission of REST requests: rates per subject and per address."""

from __future__ import annotations

import msgspec
import pytest

from ime_live.errors import LimitError
from ime_live.gateway.auth.identity import ANONYMOUS, Identity
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.upstream.sections import read_sections
from ime_live.rate import BURST
from tests.gateway.rest.test_handlers import MakePayload, World, decoded, refused, request


@pytest.fixture
def world(payload: MakePayload) -> World:
    return World(read_sections(msgspec.json.encode(payload())))


async def test_rate_limit_counts_per_subject_from_any_address(world: World) -> None:
    for n in range(int(BURST)):
        await world.handlers.static(By.NAME, request("contract_names=KASH05", f"192.0.2.{n}"))
    error = await refused(world.search("market=IMEFutures&Search_char="))
    assert isinstance(error, LimitError)
    assert 0 < error.retry_after <= 1
    world.identity = Identity("bob", None, None)
    assert await world.static("contract_names=KASH05")
    world.identity = Identity("alice", None, None)
    world.seconds += error.retry_after
    assert await world.static("contract_names=KASH05")
    assert isinstance(await refused(world.static("contract_names=KASH05")), LimitError)


async def test_rate_limit_counts_a_request_for_many_contracts_several_times(world: World) -> None:
    for answer in (world.live, world.static):
        await answer("contract_names=KASH05&" * 20)
    await world.static("contract_names=KASH05&" * 41)  # three requests
    assert isinstance(await refused(world.static("contract_names=KASH05")), LimitError)


async def test_rate_limit_without_subject_counts_per_address(world: World) -> None:
    world.identity = Identity(ANONYMOUS, None, None)
    for _ in range(int(BURST)):
        await world.static("contract_names=KASH05")
    assert isinstance(await refused(world.static("contract_names=KASH05")), LimitError)
    other = request("contract_names=KASH05", "192.0.2.2")
    assert decoded(await world.handlers.static(By.NAME, other))
