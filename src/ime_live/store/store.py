"""Store: contracts and their last states in Redis or Valkey."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from ime_live.clock import SYSTEM_CLOCK
from ime_live.errors import (
    IncompleteError,
    PayloadError,
    StoreError,
    StoreSettingsError,
)
from ime_live.market import Update
from ime_live.market_json import MAX_AHEAD
from ime_live.settings import StoreSettings
from ime_live.store import scripts
from ime_live.store.network.topology import Command
from ime_live.store.records import (
    LastState,
    Lift,
    Lifted,
    Stored,
    is_bad_data,
    lifted,
    state_in,
    timestamp_in,
    version_in,
)
from ime_live.store.registry import RegisteredContracts

# Seconds to wait for each answer of Redis while a process starts.
_CHECK_TIMEOUT: Final = 5.0


class Store(RegisteredContracts):
    """Contracts and last states in Redis or Valkey; use as ``async with Store(settings)``.

    All async methods raise `StoreError` when Redis cannot be reached, does not answer within
    `redis_timeout` seconds, or refuses a command.
    """

    async def check(self, *, writes: bool) -> None:
        """Check once that Redis allows the necessary commands, without changing anything.

        Args:
            writes: whether states will be published, and not only read.

        Raises:
            StoreSettingsError: Redis does not match the settings.
            StoreError: Redis cannot be reached.
        """
        await self.connections.check(listens=not writes)
        nobody = self.keys.last("")  # no contract has this id
        commands: list[Command] = [
            ("HMGET", self.keys.contracts, ""),
            ("HMGET", nobody, "version"),
            ("HGETALL", nobody),
        ]
        if writes:
            await self.publish_if("", b"", expected=1)
            # Nobody listens. A script may do what its user may.
            commands.append(("PUBLISH", self.keys.live(""), b""))
        for reply in await self._pipelined(commands):
            if isinstance(reply, Exception) and not is_bad_data(reply):
                raise self.connections.error(reply)

    async def server_info(self) -> dict[str, str]:
        """Return a server's memory and role, by the names of its INFO command.

        In a cluster it is any one of the nodes.
        """
        found: dict[str, str] = {}
        sections = ("server", "memory", "replication", "persistence")
        for reply in await self._pipelined([("INFO", each) for each in sections]):
            if isinstance(reply, Exception):
                raise self.connections.error(reply)
            if isinstance(reply, Mapping):  # redis-py has read it
                found |= {str(name): str(value) for name, value in reply.items()}
            else:
                lines = bytes(reply).decode("utf-8", "replace").splitlines()
                found |= {name: value for name, _, value in (line.partition(":") for line in lines)}
        return found

    async def publish(
        self,
        items: Sequence[tuple[str, bytes]],
        token: int | None = None,
        pushed_at: Mapping[str, datetime] | None = None,
    ) -> list[Stored | StoreError]:
        """Store and publish states that are changes, in one round trip per thousand.

        Args:
            items: contract ids and their states, as `ime_live.market_json.stored_json` writes them.
            token: fencing token of the leading feed; None for a publisher without one.
            pushed_at: by contract id, the exchange's timestamp of the state's board, if it has one.
                `claim` returns it to the next leader.

        Returns:
            One result per item, in order. An item that Redis refuses does not affect the others. It
            is a FencedError if a newer token was used before.
        """
        fence = "" if token is None else str(token)
        timestamps = pushed_at or {}
        replies = await self._publish(
            [
                (i, data, "", fence, timestamps[i].isoformat() if i in timestamps else "")
                for i, data in items
            ]
        )
        return [
            reply if isinstance(reply, StoreError) else Stored(reply[0], bool(reply[1]))
            for reply in replies
        ]

    async def claim(self, ids: Iterable[str], token: int) -> dict[str, datetime]:
        """Refuse older fencing tokens for these contracts, and for the registry, from now on.

        Returns:
            By contract id, the timestamps that `publish` stored with the states, as far as given.

        Raises:
            FencedError: a newer token has claimed one of them; the others are claimed.
            IncompleteError: some of the contracts cannot be claimed now; the others are claimed.
            StoreError: the registry cannot be claimed.
        """
        ids = list(ids)
        keys = [self.keys.contracts_fence, *map(self.keys.last, ids)]
        registry, *replies = await self._run(scripts.CLAIM, [(key, token) for key in keys])
        newer = 0
        timestamps: dict[str, datetime] = {}
        left: dict[str, StoreError] = {}
        for contract_id, reply in zip(("", *ids), (registry, *replies), strict=True):
            if isinstance(reply, StoreError):
                left[contract_id] = reply
            elif reply[0]:
                newer = max(newer, reply[0])
            elif (timestamp := timestamp_in(reply[1])) is not None:
                timestamps[contract_id] = timestamp
        if newer:
            raise self._fenced(token, newer)
        if isinstance(registry, StoreError):
            raise registry
        if left:
            raise IncompleteError(
                str(next(iter(left.values()))), found=timestamps, left=left.keys()
            )
        return timestamps

    async def publish_if(self, contract_id: str, data: bytes, expected: int) -> Stored | None:
        """Publish as `publish` does if ``expected`` is the last version; else return None."""
        [reply] = await self._publish([(contract_id, data, str(expected), "", "")])
        if isinstance(reply, StoreError):
            raise reply
        return None if reply[1] == scripts.CONFLICT else Stored(reply[0], bool(reply[1]))

    async def place(self, items: Sequence[tuple[str, bytes, int]]) -> None:
        """Store and publish states with versions of their own, as a recording has them.

        Args:
            items: contract ids, states as for `publish`, and versions. A state that is not newer
                than the last one of its contract is left out.

        Raises:
            StoreError: Redis refused one of them; the others are published.
        """
        keys = self.keys
        replies = await self._run(
            scripts.PLACE, [(keys.last(i), keys.live(i), data, v) for i, data, v in items]
        )
        for reply in replies:
            if isinstance(reply, StoreError):
                raise reply

    async def last(self, ids: Iterable[str]) -> dict[str, Update]:
        """Return the decoded last states by contract id; absent and unreadable ones are left out.

        Raises:
            IncompleteError: some contracts could not be read; it contains the other states.
        """
        try:
            return self._readable(await self.states(ids))
        except IncompleteError as error:
            found = self._readable(error.found)
            raise IncompleteError(str(error), found=found, left=error.left) from error

    def _readable(self, states: Mapping[str, LastState | PayloadError]) -> dict[str, Update]:
        updates = {}
        for contract_id, state in states.items():
            try:
                if isinstance(state, PayloadError):
                    raise state
                updates[contract_id] = state.read()
            except PayloadError as error:
                self._leave_out("last state", contract_id, error, error.kind)
        return updates

    async def states(self, ids: Iterable[str]) -> dict[str, LastState | PayloadError]:
        """Return the last states by contract id, with their data not decoded.

        A value that cannot be a last state is an error in its place. The caller reports it, because
        it may be read a thousand times per second.

        Raises:
            IncompleteError: some contracts could not be read; it contains the other states.
        """
        ids = list(ids)
        replies = await self._pipelined(
            [("HMGET", self.keys.last(i), "version", "data", "seen", "history") for i in ids],
            fields=(bytes | None,) * 4,
        )
        latest = SYSTEM_CLOCK.time_us() + MAX_AHEAD
        found: dict[str, LastState | PayloadError] = {}
        refused: dict[str, Exception] = {}
        for contract_id, reply in zip(ids, replies, strict=True):
            if is_bad_data(reply):
                found[contract_id] = PayloadError(str(reply))
            elif isinstance(reply, Exception):
                refused[contract_id] = reply
            else:
                # A fencing token may be stored before any state.
                if any(value is not None for value in reply):
                    version, data, *confirmed = reply
                    found[contract_id] = state_in(version, data, confirmed, latest)
        if refused:
            failure = self.connections.error(next(iter(refused.values())))
            if not found and len(refused) == len(ids):
                raise failure
            raise IncompleteError(str(failure), found=found, left=refused.keys())
        return found

    async def lift(self, lifts: Sequence[Lift]) -> list[Lifted | StoreError]:
        """Raise the versions of stored states above those of a gateway, and publish them.

        After a loss of data the store may have an older state than the gateways. If a publisher has
        confirmed it since, it is the newest one, and clients must receive it as such.

        Returns:
            One result per request, in order.
        """
        last, live = self.keys.last, self.keys.live
        calls = [
            (last(each.contract_id), live(each.contract_id), each.version, each.above, each.age)
            for each in lifts
        ]
        replies = await self._run(scripts.LIFT, calls)
        return [reply if isinstance(reply, StoreError) else lifted(*reply) for reply in replies]

    async def in_present_history(self, histories: Mapping[str, bytes]) -> set[str]:
        """Return the contracts whose server has lost no write since their states were confirmed.

        A server that has started or become the leader begins a new history of its data: it may
        have gone back to an older state that was not confirmed since.

        Args:
            histories: histories of states by contract id, from `states`. Read those first,
                otherwise a start in between goes unnoticed.

        Raises:
            StoreError: a server does not tell its history, because it does not allow INFO.
        """
        # States of one history are at one server, except for slots that have moved.
        asked = {history: contract_id for contract_id, history in histories.items() if history}
        replies = await self._run(scripts.HISTORY, [(self.keys.last(i),) for i in asked.values()])
        present = {b""}
        for history, reply in zip(asked, replies, strict=True):
            if isinstance(reply, StoreError):
                raise reply
            if not reply[1]:
                raise StoreError(
                    f"Redis at {self.connections.place} must allow INFO, which tells whether it "
                    "has lost writes, but does not; add +info to the ACL"
                )
            if reply[1] == history:
                present.add(history)
        return {i for i, history in histories.items() if history in present}

    async def versions(self, ids: Iterable[str]) -> dict[str, int]:
        """Return the versions of the last states by contract id; absent ones are left out."""
        ids = list(ids)
        replies = await self._pipelined(
            [("HMGET", self.keys.last(i), "version") for i in ids], fields=(bytes | None,)
        )
        latest = SYSTEM_CLOCK.time_us() + MAX_AHEAD
        found: dict[str, int] = {}
        for contract_id, reply in zip(ids, replies, strict=True):
            if isinstance(reply, Exception) and not is_bad_data(reply):
                raise self.connections.error(reply)
            # `states` reports a value that is not a version; here it counts as absent.
            version = None if isinstance(reply, Exception) else version_in(reply[0], latest)
            if version is not None:
                found[contract_id] = version
        return found

    async def _publish(self, calls: Sequence[tuple[str, bytes, str, str, str]]) -> list[Any]:
        """Run the script for each (id, data, expected version, token, timestamp of the board).

        Returns:
            The answers, or StoreErrors.
        """
        replies = await self._run(
            scripts.PUBLISH, [(self.keys.last(i), self.keys.live(i), *rest) for i, *rest in calls]
        )
        for n, reply in enumerate(replies):
            token = calls[n][3]
            if token and not isinstance(reply, StoreError) and reply[1] == scripts.FENCED:
                replies[n] = self._fenced(int(token), reply[0])
        return replies


async def check_settings(settings: StoreSettings, *, writes: bool) -> None:
    """Check at the start of a process whether Redis matches the settings.

    An unreachable or slow Redis is no error: the process waits for it later.

    Args:
        settings: address of Redis.
        writes: whether states will be published, and not only read.

    Raises:
        StoreSettingsError: Redis does not match the settings.
    """
    soon = replace(settings, redis_timeout=min(settings.redis_timeout, _CHECK_TIMEOUT))
    async with Store(soon) as store:
        try:
            await store.check(writes=writes)
        except StoreError as error:
            if isinstance(error, StoreSettingsError):
                raise
