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

# Maximum `redis_timeout` of the check at the start of a process [s].
_CHECK_TIMEOUT: Final = 5.0


class Store(RegisteredContracts):
    """Contracts and last states in Redis or Valkey; use as ``async with Store(settings)``.

    All async methods raise `StoreError` when Redis cannot be reached, does not answer within
    `redis_timeout` seconds, or refuses a command.
    """

    async def check(self, *, writes: bool) -> None:
        """Check once that Redis allows the necessary commands, without changing anything.

        Args:
            writes: whether the process publishes states, and does not only read them.

        Raises:
            StoreSettingsError: Redis does not match the settings.
            StoreError: Redis cannot be reached.
        """
        await self.connections.check(listens=not writes)
        unused_key = self.keys.last("")  # no contract has an empty id
        commands: list[Command] = [
            ("HMGET", self.keys.contracts, ""),
            ("HMGET", unused_key, "version"),
            ("HGETALL", unused_key),
        ]
        if writes:
            await self.publish_if("", b"", expected=1)
            # The channel has no subscriber. Scripts have the permissions of their user.
            commands.append(("PUBLISH", self.keys.live(""), b""))
        for reply in await self._pipelined(commands):
            if isinstance(reply, Exception) and not is_bad_data(reply):
                raise self.connections.error(reply)

    async def server_info(self) -> dict[str, str]:
        """Return the memory and the role of a server, by the field names of INFO.

        In a cluster, this is any of the nodes.
        """
        info: dict[str, str] = {}
        sections = ("server", "memory", "replication", "persistence")
        for reply in await self._pipelined([("INFO", each) for each in sections]):
            if isinstance(reply, Exception):
                raise self.connections.error(reply)
            if isinstance(reply, Mapping):  # redis-py has parsed it
                info |= {str(name): str(value) for name, value in reply.items()}
            else:
                lines = bytes(reply).decode("utf-8", "replace").splitlines()
                info |= {name: value for name, _, value in (line.partition(":") for line in lines)}
        return info

    async def publish(
        self,
        items: Sequence[tuple[str, bytes]],
        token: int | None = None,
        pushed_at: Mapping[str, datetime] | None = None,
    ) -> list[Stored | StoreError]:
        """Store and publish states that are changes, in one round trip per thousand.

        Args:
            items: contract ids and their states, as `ime_live.market_json.stored_json` returns
                them.
            token: fencing token of the leading feed; None for a publisher without one.
            pushed_at: contract id → the exchange's timestamp of the state's board, which `claim`
                returns to the next leader.

        Returns:
            One result per item, in order. An error of one item does not affect the others.
            FencedError if a newer token was used before.
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
        """Refuse older fencing tokens for contracts, and for the registry, from now on.

        Returns:
            Contract id → timestamp of the board that `publish` stored with the state, if any.

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
        failed: dict[str, StoreError] = {}
        for contract_id, reply in zip(("", *ids), (registry, *replies), strict=True):
            if isinstance(reply, StoreError):
                failed[contract_id] = reply
            elif reply[0]:
                newer = max(newer, reply[0])
            elif (timestamp := timestamp_in(reply[1])) is not None:
                timestamps[contract_id] = timestamp
        if newer:
            raise self._fenced(token, newer)
        if isinstance(registry, StoreError):
            raise registry
        if failed:
            raise IncompleteError(
                str(next(iter(failed.values()))), found=timestamps, left=failed.keys()
            )
        return timestamps

    async def publish_if(self, contract_id: str, data: bytes, expected: int) -> Stored | None:
        """Publish a state like `publish`, if the last state has the version ``expected``.

        Returns:
            The result; None if the last state has another version.
        """
        [reply] = await self._publish([(contract_id, data, str(expected), "", "")])
        if isinstance(reply, StoreError):
            raise reply
        return None if reply[1] == scripts.CONFLICT else Stored(reply[0], bool(reply[1]))

    async def place(self, items: Sequence[tuple[str, bytes, int]]) -> None:
        """Store and publish states with given versions, such as those of a recording.

        Args:
            items: contract ids, states as for `publish`, and versions. A state that is not newer
                than the last state of its contract is left out.

        Raises:
            StoreError: Redis refused one of the states; the others are published.
        """
        keys = self.keys
        replies = await self._run(
            scripts.PLACE, [(keys.last(i), keys.live(i), data, v) for i, data, v in items]
        )
        for reply in replies:
            if isinstance(reply, StoreError):
                raise reply

    async def last(self, ids: Iterable[str]) -> dict[str, Update]:
        """Return the decoded last states by contract id.

        Contracts without a state are left out, and states that cannot be read are, too.

        Raises:
            IncompleteError: some contracts could not be read; it contains the other states.
        """
        try:
            return self._decode(await self.states(ids))
        except IncompleteError as error:
            updates = self._decode(error.found)
            raise IncompleteError(str(error), found=updates, left=error.left) from error

    def _decode(self, states: Mapping[str, LastState | PayloadError]) -> dict[str, Update]:
        updates = {}
        for contract_id, state in states.items():
            try:
                if isinstance(state, PayloadError):
                    raise state
                updates[contract_id] = state.read()
            except PayloadError as error:
                self._log_unreadable("last state", contract_id, error, error.kind)
        return updates

    async def states(self, ids: Iterable[str]) -> dict[str, LastState | PayloadError]:
        """Return the last states by contract id, without decoding their payloads.

        A value that is no last state becomes an error in the result. It is not logged here, because
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
        states: dict[str, LastState | PayloadError] = {}
        refused: dict[str, Exception] = {}
        for contract_id, reply in zip(ids, replies, strict=True):
            if is_bad_data(reply):
                states[contract_id] = PayloadError(str(reply))
            elif isinstance(reply, Exception):
                refused[contract_id] = reply
            # The hash of a contract without a state may have a fencing token.
            elif any(value is not None for value in reply):
                version, data, *confirmed = reply
                states[contract_id] = state_in(version, data, confirmed, latest)
        if refused:
            failure = self.connections.error(next(iter(refused.values())))
            if not states and len(refused) == len(ids):
                raise failure
            raise IncompleteError(str(failure), found=states, left=refused.keys())
        return states

    async def lift(self, lifts: Sequence[Lift]) -> list[Lifted | StoreError]:
        """Raise the versions of stored states above those of a gateway, and publish them.

        After a loss of data, the store may have an older state than the gateways. If a publisher
        has confirmed the stored state since, clients must receive it as the newest state.

        Returns:
            One result per item, in order.
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

        A server that starts or is promoted begins a new history of its data, because it may have
        lost writes.

        Args:
            histories: histories of states by contract id, from `states`. Read the states before
                this call, or a start in between is not noticed.

        Raises:
            StoreError: a server does not return its history, because INFO is not allowed.
        """
        # All states of a history are on the same server, except for slots that have moved.
        samples = {history: contract_id for contract_id, history in histories.items() if history}
        replies = await self._run(scripts.HISTORY, [(self.keys.last(i),) for i in samples.values()])
        present = {b""}
        for history, reply in zip(samples, replies, strict=True):
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
        """Return the versions of last states by contract id; without a state, it is left out."""
        ids = list(ids)
        replies = await self._pipelined(
            [("HMGET", self.keys.last(i), "version") for i in ids], fields=(bytes | None,)
        )
        latest = SYSTEM_CLOCK.time_us() + MAX_AHEAD
        versions: dict[str, int] = {}
        for contract_id, reply in zip(ids, replies, strict=True):
            if isinstance(reply, Exception) and not is_bad_data(reply):
                raise self.connections.error(reply)
            # An invalid version counts as absent; `states` returns an error for it.
            version = None if isinstance(reply, Exception) else version_in(reply[0], latest)
            if version is not None:
                versions[contract_id] = version
        return versions

    async def _publish(self, calls: Sequence[tuple[str, bytes, str, str, str]]) -> list[Any]:
        """Run the script `PUBLISH` for each (id, data, expected version, token, board timestamp).

        Returns:
            The replies, or StoreErrors.
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
    """Check at the start of a process that Redis matches the settings.

    It is no error if Redis cannot be reached or is slow, because the process waits for it later.

    Args:
        settings: address of Redis.
        writes: whether the process publishes states, and does not only read them.

    Raises:
        StoreSettingsError: Redis does not match the settings.
    """
    timeout = min(settings.redis_timeout, _CHECK_TIMEOUT)
    async with Store(replace(settings, redis_timeout=timeout)) as store:
        try:
            await store.check(writes=writes)
        except StoreError as error:
            if isinstance(error, StoreSettingsError):
                raise
