"""Subscription: what is acquired is released once, whenever a client leaves or breaks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ime_live.contracts import Contract
from ime_live.errors import CloseCode, RefusedError
from ime_live.gateway.auth.authenticator import NoAuthenticator
from ime_live.gateway.hub import frames as wire
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.limits.stream_limits import StreamLimits
from ime_live.gateway.query.stream_query import parse_query, read_request
from ime_live.gateway.stream.context import GatewayContext
from ime_live.gateway.stream.subscription import Subscription
from ime_live.messages import ControlRequest
from ime_live.messages import read_request as read_command
from ime_live.registry import Registry
from ime_live.settings import LimitSettings
from ime_live.timezones import zone_of
from tests.support.clock import GivenClock
from tests.support.hub_world import NOW, A, World, Writer

IDS = [str(n) for n in range(1, 10)]


class Gateway:
    """The parts that a subscription uses; counts what is acquired."""

    def __init__(self) -> None:
        self.world = World()
        self.acquired: Counter[str] = Counter()
        self.meanwhile: Callable[[], object] = lambda: None
        """Happens while a command waits."""
        self.refused: RefusedError | None = None
        registry = Registry(Contract(contract_id=i, contract_name=f"N{i}") for i in IDS)
        self.context = cast(
            "GatewayContext",
            SimpleNamespace(
                authenticator=NoAuthenticator(),
                market_clock=GivenClock(time_us=lambda: NOW),
                contract_cache=SimpleNamespace(registry=registry),
                diagnostics=SimpleNamespace(
                    explain_refusal=lambda *_: None, explain_unknown=lambda *_: None
                ),
                hub=self.world.hub,
                settings=SimpleNamespace(max_contracts=5),
                states=self.world.states,
                status_messages=SimpleNamespace(add=lambda *_, **__: None, remove=lambda *_: False),
                upstream=self,
                zone=zone_of("Asia/Tehran"),
            ),
        )

    def check_channels(self, ids: Collection[str]) -> None:
        if self.refused is not None:
            raise self.refused

    async def acquire(self, ids: Iterable[str]) -> None:
        for contract_id in ids:
            self.acquired[contract_id] += 1
            if self.acquired[contract_id] == 1:
                self.world.open(contract_id)
        await asyncio.sleep(0)

    def release(self, ids: Iterable[str]) -> None:
        for contract_id in ids:
            self.acquired[contract_id] -= 1
            assert self.acquired[contract_id] >= 0, "released twice"
            if not self.acquired[contract_id]:
                del self.acquired[contract_id]
                self.world.states.close(contract_id)

    async def writable(self) -> None:
        self.meanwhile()

    async def open(self, *ids: str) -> tuple[Subscription, Writer]:
        subscription, writer = Subscription(self.context), Writer()
        query = "&".join(f"contract_id={i}" for i in ids)
        request = read_request(By.ID, parse_query(By.ID, query), self.context.zone)
        permit = StreamLimits(LimitSettings()).admit()
        await subscription.open(request, None, permit, lambda _: None)
        subscription.begin(writer, wire.Format.TEXT)
        return subscription, writer


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


def command(action: str, *ids: str) -> ControlRequest:
    listed = ",".join(f'"{i}"' for i in ids)
    read = read_command(f'{{"action":"{action}","contract_ids":[{listed}]}}'.encode(), binary=False)
    assert read is not None
    return read


async def test_close_releases_acquired_contracts(gateway: Gateway) -> None:
    subscription, _ = await gateway.open("1", "2")
    other, _ = await gateway.open("2", "3")
    assert gateway.acquired == {"1": 1, "2": 2, "3": 1}
    subscription.close()
    assert gateway.acquired == {"2": 1, "3": 1}
    subscription.close()
    other.close()
    assert gateway.acquired == {}


async def test_commands_acquire_and_release_contracts(gateway: Gateway) -> None:
    subscription, _ = await gateway.open("1", "2")
    await subscription.change(command("subscribe", "2", "3", "4"), gateway.writable)
    assert gateway.acquired == {"1": 1, "2": 1, "3": 1, "4": 1}
    await subscription.change(command("unsubscribe", "1", "3", "9"), gateway.writable)
    assert gateway.acquired == {"2": 1, "4": 1}
    subscription.close()
    assert gateway.acquired == {}


async def test_refused_command_releases_its_contracts(gateway: Gateway) -> None:
    subscription, writer = await gateway.open("1")
    gateway.refused = RefusedError("away", code=CloseCode.TRY_AGAIN_LATER)
    await subscription.change(command("subscribe", "2"), gateway.writable)
    assert gateway.acquired == {"1": 1}
    assert b"away" in writer.writes[-1]
    gateway.refused = None
    await subscription.change(command("subscribe", *IDS), gateway.writable)
    assert gateway.acquired == {"1": 1}
    assert b"too many contracts" in writer.writes[-1]
    subscription.close()
    assert gateway.acquired == {}


@pytest.mark.parametrize("action", ["subscribe", "unsubscribe"])
async def test_client_leaving_during_a_command_releases_its_contracts(
    gateway: Gateway, action: str
) -> None:
    subscription, _ = await gateway.open("1", "2")
    gateway.meanwhile = subscription.close
    await subscription.change(command(action, "2", "3"), gateway.writable)
    assert gateway.acquired == {}


@pytest.mark.parametrize("action", ["subscribe", "unsubscribe"])
async def test_connection_broken_during_a_command_releases_its_contracts(
    gateway: Gateway, action: str
) -> None:
    subscription, writer = await gateway.open("1", "2")

    def break_it() -> None:
        writer.error = BrokenPipeError(32, "Broken pipe")
        gateway.world.states.publish("1", NOW, A)

    gateway.meanwhile = break_it
    await subscription.change(command(action, "2", "3"), gateway.writable)
    assert len(gateway.world.failures) == 1
    subscription.close()
    assert gateway.acquired == {}


async def test_refused_request_releases_everything(gateway: Gateway) -> None:
    gateway.refused = RefusedError("away", code=CloseCode.TRY_AGAIN_LATER)
    subscription = Subscription(gateway.context)
    request: Any = read_request(
        By.ID, parse_query(By.ID, "contract_id=1&contract_id=2"), gateway.context.zone
    )
    permit = StreamLimits(LimitSettings()).admit()
    with pytest.raises(RefusedError):
        await subscription.open(request, None, permit, lambda _: None)
    assert gateway.acquired == {"1": 1, "2": 1}
    subscription.close()
    assert gateway.acquired == {}
