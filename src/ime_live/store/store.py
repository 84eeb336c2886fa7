"""Store: contracts and their last states in Redis or Valkey.

Ids, contracts and encoded payloads come in; contracts, updates and versions go out. The names of
keys and channels are here only. It must not know what a payload means, nor who reads it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

import msgspec
import structlog
from msgspec import Struct
from redis.exceptions import InvalidResponse, NoScriptError, ResponseError, WatchError

from ime_live.contracts import Contract, ImportResult, Registry, read_contract
from ime_live.errors import (
    ContractError,
    FencedError,
    IncompleteError,
    PayloadError,
    StoreError,
    StoreSettingsError,
    UnknownContractError,
)
from ime_live.log_limiter import LogLimiter
from ime_live.market import MAX_AHEAD, Update, read_stored
from ime_live.settings import StoreSettings
from ime_live.store import scripts
from ime_live.store.connections import Connections

log = structlog.get_logger()

# Commands of one round trip: some 800 KB of states, a few milliseconds of the server's time.
_CHUNK: Final = 1000

# Seconds for which a process that starts waits for each answer of Redis.
_CHECK_TIMEOUT: Final = 5.0

# Imports that change the registry at one moment: each round lets at least one of them through.
_ATTEMPTS: Final = 50


class Keys(Struct, frozen=True):
    """The names of all keys and channels: `prefix` and what the architecture lays down."""

    prefix: str

    @property
    def contracts(self) -> str:
        """The hash of all contracts, and the channel that names those that changed."""
        return f"{self.prefix}contracts"

    @property
    def contracts_fence(self) -> str:
        """The hash with the fencing token of the feed that changes the contracts."""
        # The braces are a hash tag: on a cluster it lies where the contracts do.
        return f"{self.prefix}fence:{{{self.contracts}}}"

    @property
    def feed(self) -> str:
        """The lease of the feed that leads, see `ime_live.store.lease`."""
        return f"{self.prefix}feed"

    @property
    def status(self) -> str:
        """What that feed says of itself, JSON of `ime_live.status.FeedStatus`."""
        return f"{self.prefix}status"

    def last(self, contract_id: str) -> str:
        """The hash with a contract's last state."""
        # The braces are a hash tag: on a cluster, key and channel live in one slot.
        return f"{self.prefix}last:{{{contract_id}}}"

    def live(self, contract_id: str) -> str:
        """The channel with a contract's updates."""
        return f"{self.prefix}live:{{{contract_id}}}"


class State(Struct, frozen=True):
    """A last state as it is stored.

    Attributes:
        version: microseconds since the epoch.
        data: what was stored as its payload; nobody has checked it.
        seen: when it was confirmed last, as it is written there; empty if it never was.
        history: in which history of the store's data; empty if nobody has told. See
            `Store.in_present_history`.
    """

    version: int
    data: bytes
    seen: bytes = b""
    history: bytes = b""

    def read(self) -> Update:
        """Check and decode it.

        Raises:
            PayloadError: its data is not whole, of the wrong types or too long.
        """
        return Update(self.version, read_stored(self.data))


class Lift(Struct, frozen=True):
    """A stored state whose version is to be raised above that of a gateway's state.

    Attributes:
        contract_id: the contract.
        version: of the stored state.
        above: the gateway's version.
        age: microseconds for which the gateway has had its state.
    """

    contract_id: str
    version: int
    above: int
    age: int


class Lifted(Struct, frozen=True):
    """What became of a `Lift`.

    Attributes:
        version: the stored state's new one, which was published; 0 if it was not raised.
        confirmed: microseconds since a publisher confirmed the stored state, if that was too long
            ago: before the gateway took its own. Below 0 if it was in the future. Else None.
    """

    version: int = 0
    confirmed: int | None = None


class Stored(Struct, frozen=True):
    """What the store did with a state.

    Attributes:
        version: of what is now the last state, microseconds since the epoch.
        published: True if the state was a change, False if it was equal to the last one.
    """

    version: int
    published: bool


_T = TypeVar("_T")


class _Plan(Struct, Generic[_T]):
    # A change of the registry, and what to answer once it is made.
    put: list[Contract]
    removed: list[str]
    result: _T


class Store:
    """Contracts and last states in Redis or Valkey; use as ``async with Store(settings)``.

    All methods that wait raise `StoreError` when Redis cannot be reached, does not answer within
    `redis_timeout` seconds, or refuses.
    """

    def __init__(self, settings: StoreSettings, *, connections: Connections | None = None) -> None:
        """Make a store; nothing is connected before it is used.

        Args:
            settings: where Redis is, and what its keys begin with.
            connections: to use, and to leave open; by default its own.

        Raises:
            SettingsError: ``redis_url`` is none of the forms in docs/redis.md.
        """
        self.keys = Keys(settings.key_prefix)
        self.unreadable = 0
        """Last states and contracts that were left out because they could not be read."""
        self._limited = LogLimiter(log)
        self._shares = connections is not None
        self.connections = connections or Connections(settings)
        """How Redis is reached; the subscriber makes its own connection with it."""
        self._redis = self.connections.client()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close its own connections."""
        if not self._shares:
            await self.connections.aclose()

    async def ping(self) -> None:
        """Return if Redis answers."""
        with self.connections.errors():
            await self._redis.ping()

    async def check(self, *, writes: bool) -> None:
        """Ask Redis once for what will be needed of it; nothing is changed.

        Args:
            writes: whether states will be published, and not only read.

        Raises:
            StoreSettingsError: the settings do not fit it.
            StoreError: it is away.
        """
        await self.connections.check(listens=not writes)
        nobody = self.keys.last("")  # no contract has this id
        commands: list[tuple[Any, ...]] = [
            ("HMGET", self.keys.contracts, ""),
            ("HMGET", nobody, "version"),
            ("HGETALL", nobody),
        ]
        if writes:
            await self.publish_if("", b"", expected=1)
            # To nobody. A script may publish what its user may.
            commands.append(("PUBLISH", self.keys.live(""), b""))
        for reply in await self._pipelined(commands):
            if isinstance(reply, Exception) and not is_bad_data(reply):
                raise self.connections.error(reply)

    # -- last states -----------------------------------------------------------------------

    async def publish(
        self,
        items: Sequence[tuple[str, bytes]],
        token: int | None = None,
        pushed_at: Mapping[str, datetime] | None = None,
    ) -> list[Stored | StoreError]:
        """Keep and publish states that are changes, in one round trip per thousand.

        Args:
            items: contract ids and their states, as `ime_live.market.stored_json` writes them.
            token: the fencing token of the feed that leads; None for a publisher without one.
            pushed_at: by contract id, the exchange's stamp of the board that the state is from,
                where it has one; whoever leads next is told it by `claim`.

        Returns:
            What became of each item, in order; one that Redis refuses does not harm the others.
            It is a FencedError where a newer token was used before.
        """
        fence = "" if token is None else str(token)
        stamps = pushed_at or {}
        replies = await self._publish(
            [
                (i, data, "", fence, stamps[i].isoformat() if i in stamps else "")
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
            The stamps that `publish` was given with the states, of those that have one; by id.

        Raises:
            FencedError: a newer token has claimed one of them; the others are claimed.
            IncompleteError: some of the contracts cannot be claimed now, the others are.
            StoreError: the registry cannot.
        """
        ids = list(ids)
        keys = [self.keys.contracts_fence, *map(self.keys.last, ids)]
        registry, *replies = await self._run(scripts.CLAIM, [(key, token) for key in keys])
        newer = 0
        stamps: dict[str, datetime] = {}
        left: dict[str, StoreError] = {}
        for contract_id, reply in zip(("", *ids), (registry, *replies), strict=True):
            if isinstance(reply, StoreError):
                left[contract_id] = reply
            elif reply[0]:
                newer = max(newer, reply[0])
            elif (stamp := _stamp_in(reply[1])) is not None:
                stamps[contract_id] = stamp
        if newer:
            raise self._fenced(token, newer)
        if isinstance(registry, StoreError):
            raise registry
        if left:
            raise IncompleteError(str(next(iter(left.values()))), found=stamps, left=left.keys())
        return stamps

    async def publish_if(self, contract_id: str, data: bytes, expected: int) -> Stored | None:
        """As `publish`, but only if ``expected`` is the last state's version, else return None."""
        [reply] = await self._publish([(contract_id, data, str(expected), "", "")])
        if isinstance(reply, StoreError):
            raise reply
        return None if reply[1] == scripts.CONFLICT else Stored(reply[0], bool(reply[1]))

    async def last(self, ids: Iterable[str]) -> dict[str, Update]:
        """The last states of those of the contracts that have one that can be read.

        Raises:
            IncompleteError: Redis did not tell of some contracts; it holds what it did tell.
        """
        try:
            return self._readable(await self.states(ids))
        except IncompleteError as error:
            found = self._readable(error.found)
            raise IncompleteError(str(error), found=found, left=error.left) from error

    def _readable(self, states: Mapping[str, State | PayloadError]) -> dict[str, Update]:
        updates = {}
        for contract_id, state in states.items():
            try:
                if isinstance(state, PayloadError):
                    raise state
                updates[contract_id] = state.read()
            except PayloadError as error:
                self._leave_out("last state", contract_id, error, error.kind)
        return updates

    async def states(self, ids: Iterable[str]) -> dict[str, State | PayloadError]:
        """The last states of those of the contracts that have one, their data unread.

        What cannot be a last state is an error in its place, for the caller to tell of: it may
        be asked for a thousand times a second.

        Raises:
            IncompleteError: Redis did not tell of some contracts; it holds what it did tell.
        """
        ids = list(ids)
        replies = await self._pipelined(
            [("HMGET", self.keys.last(i), "version", "data", "seen", "history") for i in ids],
            fields=4,
        )
        latest = time.time_ns() // 1000 + MAX_AHEAD
        found: dict[str, State | PayloadError] = {}
        refused: dict[str, Exception] = {}
        for contract_id, reply in zip(ids, replies, strict=True):
            if is_bad_data(reply):
                found[contract_id] = PayloadError(str(reply))
            elif isinstance(reply, Exception):
                refused[contract_id] = reply
            else:
                # A fencing token may be there before any state is.
                if any(value is not None for value in reply):
                    version, data, *confirmed = reply
                    found[contract_id] = _state_in(version, data, confirmed, latest)
        if refused:
            failure = self.connections.error(next(iter(refused.values())))
            if not found and len(refused) == len(ids):
                raise failure
            raise IncompleteError(str(failure), found=found, left=refused.keys())
        return found

    async def lift(self, lifts: Sequence[Lift]) -> list[Lifted | StoreError]:
        """Raise the versions of stored states above those of a gateway, and publish them so.

        After a loss of data the store may hold an older state than gateways do. Where a publisher
        has confirmed it since, it is the newest one in truth, and goes to all clients like that.

        Returns:
            What became of each, in order.
        """
        last, live = self.keys.last, self.keys.live
        calls = [
            (last(each.contract_id), live(each.contract_id), each.version, each.above, each.age)
            for each in lifts
        ]
        replies = await self._run(scripts.LIFT, calls)
        return [reply if isinstance(reply, StoreError) else _lifted(*reply) for reply in replies]

    async def in_present_history(self, histories: Mapping[str, bytes]) -> set[str]:
        """The contracts whose server has lost no write since their states were confirmed.

        A server that has started or come to lead begins a new history of its data: it may have
        gone back to an older state, which nobody has confirmed since.

        Args:
            histories: of states by contract id, as `states` has read them. To be asked after that
                was read, or a start in between goes unseen.

        Raises:
            StoreError: a server does not tell, as one that does not allow INFO.
        """
        # States of one history are at one server, but for slots that have moved.
        asked = {history: contract_id for contract_id, history in histories.items() if history}
        replies = await self._run(scripts.HISTORY, [(self.keys.last(i),) for i in asked.values()])
        present = {b""}
        for history, reply in zip(asked, replies, strict=True):
            if isinstance(reply, StoreError):
                raise reply
            if not reply[1]:
                raise StoreError(
                    f"Redis at {self.connections.place} must allow INFO, which tells whether it "
                    "has lost writes, and does not: +info in its ACL does"
                )
            if reply[1] == history:
                present.add(history)
        return {i for i, history in histories.items() if history in present}

    async def versions(self, ids: Iterable[str]) -> dict[str, int]:
        """The versions alone of the last states, of those of the contracts that have one."""
        ids = list(ids)
        replies = await self._pipelined([("HGET", self.keys.last(i), "version") for i in ids])
        latest = time.time_ns() // 1000 + MAX_AHEAD
        found: dict[str, int] = {}
        for contract_id, reply in zip(ids, replies, strict=True):
            if isinstance(reply, Exception) and not is_bad_data(reply):
                raise self.connections.error(reply)
            # What is no version is said by `states`; here it is as if there were none.
            version = _version_in(reply, latest)
            if version is not None:
                found[contract_id] = version
        return found

    async def _publish(self, calls: Sequence[tuple[str, bytes, str, str, str]]) -> list[Any]:
        """Run the script for each (id, data, expected version, token, stamp of the board).

        Its answers, or StoreErrors.
        """
        replies = await self._run(
            scripts.PUBLISH, [(self.keys.last(i), self.keys.live(i), *rest) for i, *rest in calls]
        )
        for n, reply in enumerate(replies):
            if not isinstance(reply, StoreError) and reply[1] == scripts.FENCED:
                replies[n] = self._fenced(int(calls[n][3]), reply[0])
        return replies

    async def _run(self, script: scripts.Script, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run a script for each (key, arguments …); its answers or StoreErrors."""
        commands = [("EVALSHA", script.sha, 1, *call) for call in calls]
        replies = await self._pipelined(commands, fields=2)
        unknown = [n for n, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            # A new or restarted Redis. The script is sent once, and not with every batch.
            with self.connections.errors():
                await self._redis.script_load(script.text)
            # Somebody else may have loaded it meanwhile, so that later calls of a key were run: the
            # last one has to stay the last.
            first = {calls[n][0]: n for n in reversed(unknown)}
            due = [n for n, call in enumerate(calls) if n >= first.get(call[0], len(calls))]
            again = await self._pipelined([commands[n] for n in due], fields=2)
            for n, reply in zip(due, again, strict=True):
                replies[n] = reply
        for n, reply in enumerate(replies):
            if not isinstance(reply, Exception) and type(reply[0]) is not int:
                replies[n] = _unusable(reply)
        return [self.connections.error(r) if isinstance(r, Exception) else r for r in replies]

    def _fenced(self, token: int, newer: int) -> FencedError:
        return FencedError(
            f"Redis at {self.connections.place} refused a write of fencing token {token}: "
            f"token {newer} leads",
            token=newer,
        )

    async def _pipelined(
        self, commands: Sequence[tuple[Any, ...]], *, fields: int | None = None
    ) -> list[Any]:
        """Run commands in few round trips; a command's error is its reply.

        Args:
            commands: with their arguments.
            fields: length of the list that each replies with; anything else is an error. None if
                they do not reply with lists.
        """
        replies: list[Any] = []
        with self.connections.errors():
            for start in range(0, len(commands), _CHUNK):
                async with self._redis.pipeline(transaction=False) as pipe:
                    for command in commands[start : start + _CHUNK]:
                        pipe.execute_command(*command)
                    replies += await pipe.execute(raise_on_error=False)
        if fields is not None:
            for n, reply in enumerate(replies):
                is_list = isinstance(reply, list) and len(reply) == fields
                if not (is_list or isinstance(reply, Exception)):
                    replies[n] = _unusable(reply)
        return replies

    # -- contracts -------------------------------------------------------------------------

    async def contracts(self) -> list[Contract]:
        """All contracts that can be read."""
        records = await self.registered()
        return [contract for contract in records.values() if isinstance(contract, Contract)]

    async def contracts_of(self, ids: Iterable[str]) -> dict[str, Contract | None]:
        """The contracts with these ids; None for one that is not there or cannot be read."""
        ids = list(ids)
        records = await self.registered(ids)
        found = {i: records.get(i) for i in ids}
        return {i: each if isinstance(each, Contract) else None for i, each in found.items()}

    async def registered(
        self, ids: Sequence[str] | None = None
    ) -> dict[str, Contract | ContractError]:
        """The records of contracts; an error in place of one that cannot be read.

        Args:
            ids: whose; None for all. One that is not there is not in the answer.
        """
        with self.connections.errors():
            if ids is None:
                records = await self._redis.hgetall(self.keys.contracts)
            elif ids:
                values = await self._redis.hmget(self.keys.contracts, ids)
                records = {i.encode(): v for i, v in zip(ids, values, strict=True)}
            else:
                records = {}
            return self._read_contracts(records)

    async def import_contracts(
        self, contracts: Iterable[Contract], token: int | None = None
    ) -> ImportResult:
        """Add or replace contracts; what had another name is found by its old one as well.

        Args:
            contracts: what to import.
            token: the fencing token of the feed that leads; None for everybody else.

        Raises:
            FencedError: a newer token was used before; nothing was changed.
            ContractError: two contracts with one name or one id, or an empty id or name; nothing
                was changed.
        """
        batch = list(contracts)

        def plan(records: Mapping[bytes, bytes]) -> _Plan[ImportResult]:
            read = self._read_contracts(records).values()
            contracts = [each for each in read if isinstance(each, Contract)]
            registry = Registry(contracts, conflicts=[])
            imported, result = registry.with_import(batch)
            return _Plan([imported.by_id(i) for i in result.added + result.changed], [], result)

        return await self._change(plan, token)

    async def remove_contracts(self, ids: Iterable[str]) -> None:
        """Remove contracts. Their last states stay, so that versions go on if they come back.

        Raises:
            UnknownContractError: one of them does not exist; nothing was changed.
        """
        removed = list(ids)

        def plan(records: Mapping[bytes, bytes]) -> _Plan[None]:
            for contract_id in removed:
                if contract_id.encode() not in records:
                    raise UnknownContractError(f"unknown contract: {contract_id}")
            return _Plan([], removed, None)

        await self._change(plan)

    async def _change(
        self, plan: Callable[[Mapping[bytes, bytes]], _Plan[_T]], token: int | None = None
    ) -> _T:
        """Change the registry as planned from its records; plan again if they change meanwhile."""
        key = self.keys.contracts
        for _ in range(_ATTEMPTS):
            with self.connections.errors():
                async with self.connections.transaction(key) as pipe:
                    if token is not None:
                        await self._check_fence(pipe, token)
                    planned = plan(await pipe.hgetall(key))
                    try:
                        await self._write(pipe, planned.put, planned.removed)
                    except WatchError:
                        continue
                    return planned.result
        raise StoreError(
            f"contracts in Redis at {self.connections.place} change faster than one can write"
        )

    async def _check_fence(self, pipe: Any, token: int) -> None:  # noqa: ANN401 - as in _write
        # A leader claims the registry first, so whoever is older finds its token.
        fence = self.keys.contracts_fence
        await pipe.watch(fence)
        # As the scripts read it: what cannot be a token holds nobody up.
        latest = time.time_ns() // 1000 + MAX_AHEAD
        held = _version_in(await pipe.hget(fence, "token"), latest) or 0
        if held > token:
            raise self._fenced(token, held)

    async def _write(
        self,
        pipe: Any,  # noqa: ANN401 - a pipeline of redis-py, which types it loosely
        put: Sequence[Contract],
        removed: Sequence[str] = (),
    ) -> None:
        """Write the changes and say so, at once."""
        key = self.keys.contracts
        pipe.multi()
        if put:
            pipe.hset(key, mapping={c.contract_id: c.to_json() for c in put})
        if removed:
            pipe.hdel(key, *removed)
        if put or removed:
            ids = [*(c.contract_id for c in put), *removed]
            pipe.publish(key, msgspec.json.encode(ids))
        await pipe.execute()

    def _read_contracts(
        self, records: Mapping[bytes, bytes | None]
    ) -> dict[str, Contract | ContractError]:
        found = {}
        for raw_id, record in records.items():
            contract_id = raw_id.decode("utf-8", "replace")
            if record is not None:
                found[contract_id] = self._read_contract(contract_id, record)
        return found

    def _read_contract(self, contract_id: str, record: bytes) -> Contract | ContractError:
        try:
            contract = read_contract(record)
        except ContractError as error:
            problem = error
        else:
            if contract.contract_id == contract_id:
                return contract
            problem = ContractError("its record has another id")
        self._leave_out("contract", contract_id, problem, "contract")
        return problem

    def _leave_out(self, what: str, contract_id: str, error: Exception, kind: str) -> None:
        self.unreadable += 1
        event = f"{what} cannot be read"
        self._limited.warning(event, key=(event, kind), contract_id=contract_id, error=str(error))


async def check_settings(settings: StoreSettings, *, writes: bool) -> None:
    """Find at the start of a process what is wrong with the settings, and no waiting cures.

    Args:
        settings: where Redis is. One that is away, or does not answer soon, is left to be waited
            for.
        writes: whether states will be published, and not only read.

    Raises:
        StoreSettingsError: the settings do not fit it.
    """
    soon = replace(settings, redis_timeout=min(settings.redis_timeout, _CHECK_TIMEOUT))
    async with Store(soon) as store:
        try:
            await store.check(writes=writes)
        except StoreError as error:
            if isinstance(error, StoreSettingsError):
                raise


def is_bad_data(reply: object) -> bool:
    """Whether an error is about what is stored; every other one is about the store itself."""
    return isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE ")


def _state_in(
    version: bytes | None, data: bytes | None, confirmed: Sequence[bytes | None], latest: int
) -> State | PayloadError:
    if version is None or data is None:
        missing = "version" if data is not None else "data" if version is not None else "both"
        return PayloadError(f"a last state must have version and data, missing: {missing}")
    number = _version_in(version, latest)
    if number is None:
        return PayloadError(
            f"version {version!r} is not microseconds since the epoch", kind="not a version"
        )
    return State(number, data, *(field or b"" for field in confirmed))


def _unusable(reply: object) -> InvalidResponse:
    return InvalidResponse(f"a reply that cannot be used: {reply!r:.100}")


def _lifted(code: int, value: int) -> Lifted:
    match code:
        case 1:
            return Lifted(value)
        case 0:
            return Lifted(confirmed=value)
        case _:
            return Lifted()


def _version_in(reply: object, latest: int) -> int | None:
    """The version that Redis replies, None if it cannot be one."""
    if isinstance(reply, bytes) and reply.isdigit() and len(reply) <= scripts.MAX_DIGITS:
        version = int(reply)
        if 0 < version <= latest:
            return version
    return None


def _stamp_in(text: bytes) -> datetime | None:
    """The stamp that was written beside a state, None if it cannot be one."""
    try:
        stamp = datetime.fromisoformat(text.decode())
    except ValueError:
        return None
    return stamp if stamp.tzinfo is None else None
