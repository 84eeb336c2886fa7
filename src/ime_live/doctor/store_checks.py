"""Store checks: Redis or Valkey, and its data."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from ime_live.clock import SYSTEM_CLOCK
from ime_live.contracts import Contract
from ime_live.doctor.check import Check, Finding, failed, ok, warning
from ime_live.errors import StoreError
from ime_live.market import MICROSECONDS
from ime_live.settings import StoreSettings
from ime_live.spelling import pluralize
from ime_live.status import FeedState
from ime_live.store.lease import Lease
from ime_live.store.pubsub import PubSub
from ime_live.store.records import LastState
from ime_live.store.store import Store

_OLDEST: Final = (6, 2)
_SKEW: Final = 1.0  # seconds between two clocks that no clock service leaves
_LATE: Final = 10.0  # seconds
_ACL: Final = "allow its user ~ime:* &ime:* and the commands in docs/redis.md, section Permissions"


class CheckedStore:
    """The settings and the store of the checks."""

    def __init__(self, settings: StoreSettings, store: Store) -> None:
        """Create a context of the checks, from settings and the store that they name."""
        self.settings = settings
        self.store = store


async def reach(context: CheckedStore) -> list[Finding]:
    """Can Redis be reached, which version is it, and does it keep its data?"""
    store = context.store
    try:
        await store.connections.check(listens=True)
    except StoreError as error:
        return [failed(str(error), "check that it runs, and --redis-url; see docs/redis.md")]
    place = store.connections.place
    try:
        info = await store.server_info()
    except StoreError as error:
        return [ok(f"reached at {place}"), warning(f"its version is not known: {error}", _ACL)]
    is_valkey = "valkey_version" in info
    kind = "Valkey" if is_valkey else "Redis"
    version = info.get("valkey_version") or info.get("redis_version", "")
    findings = [ok(f"{kind} {version} at {place}")]
    compatible = version if not is_valkey else "9.0"
    parts = tuple(int(part) if part.isdigit() else 0 for part in compatible.split(".")[:2])
    if parts < _OLDEST:
        findings.append(warning(f"{kind} {version} is old", "use Redis 6.2 or later, or Valkey"))
    policy = info.get("maxmemory_policy", "noeviction")
    if info.get("maxmemory", "0") != "0" and policy.startswith("allkeys"):
        findings.append(
            warning(
                f"maxmemory-policy is {policy}, so states are deleted when the memory is full",
                "set maxmemory-policy noeviction",
            )
        )
    findings += _refused_writes(info)
    at = info.get("server_time_usec", "")
    if at.isdigit() and abs(ahead := int(at) / 1e6 - SYSTEM_CLOCK.time()) > _SKEW:
        findings.append(
            warning(
                f"its clock differs from this machine's by {ahead:+.1f} s",
                "synchronise both, as by chrony",
            )
        )
    return findings


def _refused_writes(info: Mapping[str, str]) -> list[Finding]:
    """Return why a server refuses writes by its INFO. The checks write nothing to find out."""
    findings = []
    # A cluster's answer may be any node's; its primaries take the writes.
    if info.get("role") == "slave" and info.get("redis_mode") != "cluster":
        findings.append(
            failed(
                "it is a replica, which refuses writes and may lag behind",
                "give its master's address by --redis-url, or that of a Sentinel",
            )
        )
    most, used = (info.get(name, "") for name in ("maxmemory", "used_memory"))
    if most.isdigit() and used.isdigit() and 0 < int(most) <= int(used):
        text = f"its memory is full: {int(used):,} of {int(most):,} bytes are used"
        findings.append(failed(text, "raise its maxmemory, or delete data"))
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        remedy = "see its log: its disk is full, or its folder may not be written"
        findings.append(warning("it could not save its data, so it may refuse writes", remedy))
    return findings


async def rights(context: CheckedStore) -> list[Finding]:
    """May the user read, subscribe, run scripts and write?"""
    store = context.store
    findings = []
    try:
        await store.check(writes=False)
        findings.append(ok("may read states and contracts"))
    except StoreError as error:
        findings.append(failed(f"may not read: {error}", _ACL))
    refusal = await _refusal(store)
    if refusal is None:
        findings.append(ok("may subscribe"))
    else:
        findings.append(failed(f"may not subscribe: {refusal}", _ACL))
    try:
        await store.check(writes=True)
        findings.append(ok("may run the script that stores and publishes"))
    except StoreError as error:
        findings.append(
            warning(
                f"may not store and publish: {error}",
                f"gateways work without it, but correct no states; feeds need it: {_ACL}",
            )
        )
    try:
        # No server has this history; the call fails only if scripts may not use INFO.
        await store.in_present_history({"": b"-"})
    except StoreError as error:
        findings.append(warning(str(error), "allow its user +info"))
    return findings


async def _refusal(store: Store) -> str | None:
    """Return Redis's error to SUBSCRIBE; None if it allows it."""
    connected: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    def note(error: StoreError | None = None) -> None:
        if not connected.done():
            connected.set_result(None if error is None else str(error))

    pubsub = PubSub(
        store,
        on_message=lambda _, __: None,
        on_contracts=lambda _: None,
        on_connected=note,
        on_disconnected=note,
    )
    pubsub.subscribe([""])
    listening = asyncio.create_task(pubsub.run())
    try:
        refusal = await connected
        return refusal or next(iter(pubsub.refused.values()), None)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def contracts(context: CheckedStore) -> list[Finding]:
    """Are contracts registered, and do they have states?"""
    records = await context.store.registered()
    readable = [record for record in records.values() if isinstance(record, Contract)]
    unreadable = len(records) - len(readable)
    findings = []
    if unreadable:
        findings.append(
            warning(
                f"{pluralize(unreadable, 'contract')} cannot be read",
                "write them as docs/redis.md says, section Contracts",
            )
        )
    if not readable:
        remedy = "run a feed, or register them: ime-live contracts import FILE"
        return [*findings, warning("no contracts are registered", remedy)]
    states = await context.store.states(contract.contract_id for contract in readable)
    good = [state for state in states.values() if isinstance(state, LastState)]
    bad = len(states) - len(good)
    text = f"{pluralize(len(readable), 'contract')}, {len(good)} with a state"
    if bad:
        findings.append(
            warning(
                f"{pluralize(bad, 'last state')} cannot be read",
                "see what is published: ime-live tail ID",
            )
        )
    if not good:
        remedy = "start a feed or a publisher; see what it sends: ime-live tail ID"
        return [*findings, warning(text, remedy)]
    newest = max(state.version for state in good)
    return [*findings, ok(f"{text}; the newest is {_format_age(newest)} old")]


async def feed(context: CheckedStore) -> list[Finding]:
    """Does the feed run, and how late is it?"""
    lease = Lease(context.settings, "", connections=context.store.connections)
    status, led = await lease.read()
    if status is None:
        return [ok("no exchange feed has run; your own publisher needs none")]
    if not led:
        return [
            warning(
                f"no feed runs; the last one wrote {_format_age(status.written)} ago",
                "start it: ime-live feed ime",
            )
        ]
    text = f"{status.state}, by {status.source or 'no source'}"
    if status.last_board is not None:
        text += f", last board {_format_age(status.last_board)} ago"
    if status.lag is not None:
        text += f", lag {status.lag:.1f} s"
    if status.state in (FeedState.DOWN, FeedState.STALE):
        return [failed(f"{text}: {status.error or 'no board arrives'}", "see the feed's log")]
    if status.error:
        remedy = "check the exchange: ime-live doctor --exchange"
        return [warning(f"{text}: {status.error}", remedy)]
    if status.lag is not None and status.lag > _LATE:
        return [warning(text, "look for a slow line to the exchange, and at this machine's clock")]
    return [ok(text)]


def _format_age(moment: int) -> str:
    seconds = SYSTEM_CLOCK.time() - moment / MICROSECONDS
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"


STORE_CHECKS: Final[Sequence[Check[CheckedStore]]] = (
    Check("redis", reach),
    Check("rights", rights, needs="redis"),
    Check("contracts", contracts, needs="redis"),
    Check("feed", feed, needs="redis"),
)
"""The checks of the store."""
