"""Redis Cluster: clients of the primaries, and the map of slots.

Errors are those of redis-py; `ime_live.store.network.connections` converts them.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ime_live.store.network.connection_pool import Pool
from ime_live.store.network.topology import (
    CHECK_INTERVAL,
    Address,
    Command,
    FailoverWatcher,
    ask_in_task,
    first_answer,
    pipelined,
    text_of,
)

# Attempts of a command while the cluster moves a slot. The move may end in the pause before the
# last attempt.
_TRIES: Final = 3
_PAUSE: Final = 0.1  # seconds

_SLOTS: Final = 16_384

# Nodes that are asked in each check, enough to outvote a node that is cut off from the others.
_VOTES: Final = 5

Map = tuple[tuple[int, int, Address], ...]
"""First slot, last slot and primary of each range, in order."""

_AWAY_ERRORS: Final = (
    RedisConnectionError,
    RedisTimeoutError,
    ClusterDownError,
    AskError,  # and MovedError
    TryAgainError,
    ReadOnlyError,
)


class Cluster:
    """A cluster: one client per primary, and a map from slots to primaries.

    Commands are sent to the primaries of their keys, to all primaries at once. The cluster client
    of redis-py (6 to 8) is not used: after an error in a pipeline, it closes connections that other
    tasks use.
    """

    one_clock = False

    def __init__(self, hosts: Sequence[Address], options: Mapping[str, Any]) -> None:
        """Create a topology without connecting.

        Args:
            hosts: addresses of some nodes.
            options: redis-py's options of connections.
        """
        self.addresses = hosts
        self.place = ",".join(map(text_of, hosts))
        self.failovers = 0
        self._hosts = hosts
        self._options = options
        self._clients: dict[Address, Any] = {}
        self._replaced: list[Any] = []
        """Clients of former primaries."""
        # Nodes in the order in which they are asked for the map.
        self._nodes: list[Address] = random.sample(hosts, len(hosts))
        self._map: Map = ()
        self._slots: list[Address | None] = []
        """The primary of each slot, by the map."""
        self._stale = True
        self._reading = asyncio.Lock()
        self._watcher = FailoverWatcher(self._check_failover)

    # -- Topology ---------------------------------------------------------------------------

    async def check(self) -> None:
        """See `Topology`."""
        await self._read_map()

    def make(self) -> Any:  # noqa: ANN401
        """Return a connection to the next node; each node gets all Pub/Sub messages."""
        node = self._nodes.pop(0)
        self._nodes.append(node)
        return self._client(node).connection_pool.make_connection()

    async def view(self, connection: Any) -> Any:  # noqa: ANN401
        """Return the links by which the node of a connection gets the messages of other nodes.

        A node forwards each message to all other nodes over links. When a link breaks, messages in
        flight are lost, and the only sign is a new link.
        """
        node = (connection.host, int(connection.port))
        replies = await pipelined(self._client(node), [("CLUSTER", "INFO"), ("CLUSTER", "LINKS")])
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        info, links = replies
        if b"cluster_state:ok" not in info:
            raise ClusterDownError("the cluster is down")
        fields = [dict(zip(link[::2], link[1::2], strict=True)) for link in links]
        return {(f[b"node"], f[b"create-time"]) for f in fields if f[b"direction"] == b"from"}

    async def changed(self, connection: Any, view: Any) -> str:  # noqa: ANN401
        """Wait until messages of another node may be lost, or the node hangs; return the reason."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            try:
                if await self.view(connection) != view:
                    return "links between the cluster's nodes have changed"
            except RedisError as error:
                return f"{text_of((connection.host, connection.port))}: {error}"

    async def aclose(self) -> None:
        """See `Topology`."""
        await self._watcher.aclose()
        for client in (*self._clients.values(), *self._replaced):
            await client.connection_pool.aclose()

    # -- Commands ---------------------------------------------------------------------------

    async def ping(self) -> None:
        """See `RedisClient`."""
        for reply in await self._everywhere(("PING",)):
            if isinstance(reply, Exception):
                raise reply

    async def script_load(self, text: bytes) -> None:
        """See `RedisClient`."""
        replies = await self._everywhere(("SCRIPT LOAD", text))
        errors = [reply for reply in replies if isinstance(reply, Exception)]
        # The commands of primaries that have loaded the script can be run.
        if len(errors) == len(replies):
            raise errors[0]

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """See `RedisClient`; an unreachable node affects only the commands for its keys."""
        replies: list[Any] = [None] * len(commands)
        todo: Sequence[int] = range(len(commands))
        for tries in range(1, _TRIES + 1):
            groups: dict[Address, list[int]] = {}
            await self._read_map()
            for n in todo:
                try:
                    groups.setdefault(self._node_of(_key_of(commands[n])), []).append(n)
                except ClusterDownError as error:
                    replies[n] = error
            results = await asyncio.gather(
                *(self._send(node, [commands[n] for n in ns]) for node, ns in groups.items())
            )
            for ns, result in zip(groups.values(), results, strict=True):
                for n, reply in zip(ns, result, strict=True):
                    replies[n] = reply
            # Commands that timed out are not repeated.
            todo = [
                n
                for n in todo
                if is_away(replies[n]) and not isinstance(replies[n], RedisTimeoutError)
            ]
            if not todo:
                break
            if tries == _TRIES - 1:
                await asyncio.sleep(_PAUSE)
        return replies

    async def _send(self, node: Address, commands: Sequence[Command]) -> Sequence[Any]:
        """Run commands on one node, and redirected commands on the node that it names."""
        try:
            replies = await pipelined(self._client(node), commands)
        except RedisError as error:
            self._note_error(node, error)
            return [error] * len(commands)
        for n, reply in enumerate(replies):
            if type(reply) is AskError:
                target = (reply.host or node[0], int(reply.port))
                try:
                    redirected = [("ASKING",), commands[n]]
                    _, replies[n] = await pipelined(self._client(target), redirected)
                except RedisError as error:
                    replies[n] = error
            if is_away(replies[n]):
                self._note_error(node, replies[n])
        return replies

    async def _everywhere(self, command: Command) -> list[Any]:
        await self._read_map()
        nodes = dict.fromkeys(node for node in self._slots if node is not None)
        results = await asyncio.gather(*(self._send(node, [command]) for node in nodes))
        return [reply for [reply] in results]

    # -- Map of slots -----------------------------------------------------------------------

    def _client(self, node: Address) -> Any:  # noqa: ANN401
        client = self._clients.get(node)
        if client is None:
            host, port = node
            pool = Pool(host=host, port=port, on_timeout=self.abort_idle, **self._options)
            client = self._clients[node] = Redis.from_pool(pool)
        return client

    def abort_idle(self) -> None:
        """See `Topology`."""
        # The nodes usually share a network.
        for client in self._clients.values():
            client.connection_pool.abort_idle()

    def _node_of(self, key: bytes) -> Address:
        node = self._slots[key_slot(key)]
        if node is None:
            self._stale = True
            raise ClusterDownError(f"no node serves the slot of {key!r}")
        return node

    def _note_error(self, node: Address, error: Exception) -> None:
        """Request a new map after an error of a node, first from the node that the error names."""
        self._stale = True
        if isinstance(error, MovedError):
            # First, because other nodes may not know of the move yet.
            self._nodes.insert(0, (error.host or node[0], int(error.port)))
        elif node in self._nodes:
            self._nodes.remove(node)
            self._nodes.append(node)

    async def _read_map(self) -> None:
        self._watcher.begin()
        async with self._reading:
            if not self._stale:
                return
            self._stale = False
            try:
                self._apply_map(
                    *await first_answer(partial(self._ask, node) for node in self._nodes)
                )
            except BaseException:
                self._stale = True
                raise

    async def _check_failover(self) -> None:
        """Read the map at intervals, even if no command fails.

        A primary that is cut off from the others still accepts writes, and its own map is out of
        date. So the map of the majority is used.
        """
        nodes = random.sample(self._nodes, min(_VOTES, len(self._nodes)))
        tasks = [ask_in_task(partial(self._ask, node)) for node in nodes]
        try:
            done, _ = await asyncio.wait(tasks, timeout=CHECK_INTERVAL)
        finally:
            for task in tasks:
                task.cancel()
        answers = [task.result() for task in done if task.exception() is None]
        votes = Counter(slots for slots, _ in answers)
        for slots, nodes in answers:
            if votes[slots] * 2 > len(answers):
                self._apply_map(slots, nodes)
                return

    async def _ask(self, node: Address) -> tuple[Map, list[Address]]:
        """Return the map of one node, and all nodes in it."""
        # Two words, because redis-py 6 to 8 parse the reply to the single word differently.
        ranges = await self._client(node).execute_command("CLUSTER", "SLOTS")
        if not ranges:
            raise RedisConnectionError("the node is not part of a cluster")
        nodes: dict[Address, None] = {}
        slots = []
        for first, last, *servers in ranges:
            addresses = [_address_of(server, node) for server in servers]
            slots.append((first, last, addresses[0]))
            nodes |= dict.fromkeys(addresses)
        return tuple(sorted(slots)), list(nodes)

    def _apply_map(self, slots: Map, nodes: Sequence[Address]) -> None:
        # Nodes that have failed, or were used for Pub/Sub last, stay at the end.
        old = [node for node in self._nodes if node in nodes]
        new = [node for node in nodes if node not in old]
        missing = [host for host in self._hosts if host not in nodes]
        self._nodes = random.sample(new, len(new)) + list(dict.fromkeys(old)) + missing
        if slots == self._map:
            return
        old_primaries = {primary for _, _, primary in self._map}
        if self._map:
            self.failovers += 1
        self._map = slots
        self._slots = [None] * _SLOTS
        for first, last, primary in slots:
            self._slots[first : last + 1] = [primary] * (last + 1 - first)
        for node in old_primaries.difference(primary for _, _, primary in slots):
            # This breaks commands that wait for a reply, which are sent to the new primary.
            client = self._clients.pop(node, None)
            if client is not None:
                client.connection_pool.abort("the node is no longer a primary")
                self._replaced.append(client)


def is_away(reply: object) -> bool:
    """Return whether a reply means that the server is unreachable, or no longer the primary."""
    return isinstance(reply, _AWAY_ERRORS)


def _key_of(command: Command) -> bytes:
    key: str | bytes = command[3 if command[0] in ("EVAL", "EVALSHA") else 1]
    return key if isinstance(key, bytes) else key.encode()


def _address_of(server: Sequence[Any], node: Address) -> Address:
    """Return the address of a server in a reply to CLUSTER SLOTS.

    Args:
        server: the entry of the server.
        node: the node that has sent the reply, whose host is the default.
    """
    host = server[0].decode() if server[0] else ""
    return (host if host not in ("", "?") else node[0]), int(server[1])
