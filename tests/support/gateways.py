"""Gateway processes and raw clients for the tests of the stream."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from email.message import Message
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect as connect_client
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close

from tests.support.fork_server import ForkedProcess

ROOT: Final = "/live/data/websocket/contract/"
_LISTENING: Final = re.compile(r'listening.*?port=(\d+)|"port":(\d+)')
START_TIMEOUT: Final = 60.0
PATIENCE: Final = 30.0
"""Seconds that something may take on a busy machine; far above what it does take."""


class Answer(Struct, frozen=True):
    """An HTTP answer."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - any JSON
        """The body, decoded."""
        return json.loads(self.body)


class Command:
    """A process of ``ime-live``; its output goes to files, so that it never waits for us.

    Attributes:
        module: what is run; that of the command by default.
    """

    module = "ime_live"

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str],
        *,
        stderr: int | None = None,
        **variables: str,
    ) -> None:
        """Start it.

        Args:
            folder: takes its output, and is its directory for temporary files.
            arguments: the command line after ``ime-live``.
            stderr: an open file that is its standard error instead.
            variables: of its environment, besides ours.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._stdout, self._stderr = folder / "stdout", folder / "stderr"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        ours = {k: v for k, v in os.environ.items() if not k.startswith("IME_LIVE_")}
        with self._stdout.open("wb") as out, self._stderr.open("wb") as err:
            self.process = self._started(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err if stderr is None else stderr,
                env=ours | {"TMPDIR": str(self.temporary)} | variables,
                start_new_session=True,
            )

    def _started(self, arguments: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401
        return ForkedProcess[bytes](self.module, arguments, **options)

    @property
    def output(self) -> str:
        """Everything it has written so far."""
        return self._stdout.read_text() + self._stderr.read_text()

    @property
    def log(self) -> list[dict[str, Any]]:
        """The log lines so far; a line that is not JSON is an event of its own."""
        lines = []
        for line in self._stderr.read_text().splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                lines.append({"event": line, "level": "not JSON"})
        return lines

    def events(self, event: str) -> list[dict[str, Any]]:
        """The log lines of one event so far; a thread writes them a moment after the event."""
        return [line for line in self.log if line["event"] == event]

    async def logged(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait for so many log lines of one event, and return all of them."""
        async with asyncio.timeout(PATIENCE):
            while len(found := self.events(event)) < count:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.01)
        return found

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait until it ends; its exit status."""
        return self.process.wait(timeout)

    async def ended(self, timeout: float = PATIENCE) -> int:  # noqa: ASYNC109
        """The same, while clients of ours live on."""
        async with asyncio.timeout(timeout):
            while (status := self.process.poll()) is None:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.01)
        return status

    def end(self) -> None:
        """End it, whatever state it is in, and all that it has started."""
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


class Gateway(Command):
    """A process of ``ime-live serve`` on a free port."""

    def __init__(
        self,
        folder: Path,
        redis_url: str,
        *,
        variables: dict[str, str] | None = None,
        stderr: int | None = None,
        **settings: Any,  # noqa: ANN401
    ) -> None:
        """Start it; `when_listening` and `when_ready` wait for it.

        Args:
            folder: takes its output.
            redis_url: its Valkey.
            variables: of its environment.
            stderr: an open file that is its standard error instead. Give it a port then.
            settings: as in `GatewaySettings`.
        """
        options: dict[str, Any] = {
            "auth": "none",
            "port": 0,
            "log_format": "json",
            "shutdown_grace": 0.0,
            "shutdown_spread": 0.0,
        } | settings
        arguments = ["serve", "--redis-url", redis_url]
        for name, value in options.items():
            flag = name.replace("_", "-")
            if isinstance(value, bool):
                arguments.append(f"--{flag}" if value else f"--no-{flag}")
            else:
                arguments += [f"--{flag}", str(value)]
        super().__init__(folder, arguments, stderr=stderr, **(variables or {}))
        self.port = int(options["port"])

    def when_listening(self) -> Self:
        """Wait until it has said which port it listens on."""
        deadline = time.monotonic() + START_TIMEOUT
        while not self.port:
            if said := _LISTENING.search(self.output):
                self.port = int(said[1] or said[2])
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the gateway does not start:\n{self.output}")
            time.sleep(0.01)
        return self

    def when_ready(self) -> Self:
        """Wait until it serves."""
        self.when_listening()
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            with suppress(OSError):
                if self.get("/ready").status == 200:
                    return self
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the gateway does not get ready:\n{self.output}")
            time.sleep(0.01)

    # Addresses

    def stream(self, by: str, names: Iterable[str] = (), **parameters: str) -> str:
        """The path and query of a stream, with the documented parameter."""
        key = {"name": "contract_names", "id": "contract_id"}[by]
        pairs = [(key, name) for name in names] + list(parameters.items())
        return f"{ROOT}{by}?" + "&".join(f"{k}={quote(v, safe='')}" for k, v in pairs)

    def url(self, path: str) -> str:
        """The WebSocket address of a path."""
        return f"ws://127.0.0.1:{self.port}{path}"

    def connect(self, path: str, **options: Any) -> connect_client:  # noqa: ANN401
        """Connect the `websockets` client to a path."""
        return connect_client(self.url(path), **{"proxy": None, "open_timeout": PATIENCE} | options)

    def by_id(self, *ids: str, **parameters: str) -> connect_client:
        """Connect to the stream of contracts by their ids."""
        return self.connect(self.stream("id", ids, **parameters))

    def by_name(self, *names: str, **parameters: str) -> connect_client:
        """Connect to the stream of contracts by their names."""
        return self.connect(self.stream("name", names, **parameters))

    # HTTP

    def request(self, method: str, path: str, headers: dict[str, str] | None = None) -> Answer:
        """Ask by plain HTTP."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, headers=headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        """Ask by GET."""
        return self.request("GET", path)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry the labels."""
        text = self.get("/metrics").body.decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == f"ime_live_{name}" and labels.items() <= sample.labels.items()
        )


class Frame(Struct, frozen=True):
    """A frame as a raw client sees it."""

    first: int
    payload: bytes

    @property
    def opcode(self) -> int:
        """The opcode of the frame."""
        return self.first & 0x0F

    @property
    def close(self) -> Close:
        """The code and reason of a close frame."""
        return Close.parse(self.payload)


class RawClient:
    """A client that does only what it is told to do: it does not answer pings, nor read."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = bytearray()

    @classmethod
    async def open(cls, port: int, *, receive_buffer: int | None = None) -> Self:
        """Connect to a port of this machine."""
        connection = socket.socket()
        connection.setblocking(False)
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        except OSError:
            connection.close()
            raise
        return cls(connection)

    @classmethod
    async def stream(
        cls,
        gateway: Gateway,
        path: str | bytes,
        headers: Sequence[str] = (),
        *,
        receive_buffer: int | None = None,
    ) -> Self:
        """Connect to a gateway's stream, past the handshake."""
        client = await cls.open(gateway.port, receive_buffer=receive_buffer)
        await client.send(handshake(path, headers))
        client.head = await client.read_head()
        assert client.head.startswith(b"HTTP/1.1 101 "), client.head
        return client

    head = b""
    """The answer to the handshake."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket without a word."""
        self._socket.close()

    def reset(self) -> None:
        """End the connection as a crash or a cable does: with a reset."""
        linger = (1).to_bytes(4, sys.byteorder) + (0).to_bytes(4, sys.byteorder)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._socket.close()

    def end(self) -> None:
        """Close our half; the other side's bytes can still be read."""
        self._socket.shutdown(socket.SHUT_WR)

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        async with asyncio.timeout(PATIENCE):
            await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def _more(self) -> bool:
        async with asyncio.timeout(PATIENCE):
            data = await asyncio.get_running_loop().sock_recv(self._socket, 65_536)
        self._buffer += data
        return bool(data)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    async def read_head(self) -> bytes:
        """Read the head of an HTTP answer."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            assert await self._more(), f"closed after {bytes(self._buffer)!r}"
        return self._take(end + 4)

    async def read_exactly(self, size: int) -> bytes:
        """Read so many bytes."""
        while len(self._buffer) < size:
            assert await self._more(), f"closed after {bytes(self._buffer)!r}"
        return self._take(size)

    async def read_all(self) -> bytes:
        """Read until the other side closes."""
        while await self._more():
            pass
        return self._take(len(self._buffer))

    async def frame(self) -> Frame:
        """Read one frame."""
        while (size := self._frame_size()) is None:
            if not await self._more():
                raise EOFError
        header, length = size
        first = self._buffer[0]
        return Frame(first, self._take(header + length)[header:])

    def _frame_size(self) -> tuple[int, int] | None:
        """The sizes of header and payload of the frame at hand, None if it is not whole."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        header, length = 2, buffer[1]
        if length >= 126:
            header = 4 if length == 126 else 10
            if len(buffer) < header:
                return None
            length = int.from_bytes(buffer[2:header])
        return (header, length) if len(buffer) >= header + length else None

    async def message(self) -> dict[str, Any]:
        """Read the next frame, which is an uncompressed message."""
        frame = await self.frame()
        assert frame.first == 0x81, frame
        message: dict[str, Any] = json.loads(frame.payload)
        return message


def handshake(path: str | bytes, headers: Sequence[str] = ()) -> bytes:
    """The bytes of a WebSocket handshake."""
    raw = path if isinstance(path, bytes) else path.encode()
    lines = [
        "Host: test",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        *headers,
    ]
    return b"GET " + raw + b" HTTP/1.1\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n"


def frame_bytes(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """The bytes of a client's frame: masked, with a mask that changes nothing."""
    first = (0x80 if fin else 0) | rsv | opcode
    if len(payload) < 126:
        length = bytes((0x80 | len(payload),))
    elif len(payload) < 65_536:
        length = bytes((0x80 | 126,)) + len(payload).to_bytes(2)
    else:
        length = bytes((0x80 | 127,)) + len(payload).to_bytes(8)
    return bytes((first,)) + length + bytes(4) + payload


async def receive(client: Any, timeout: float = PATIENCE) -> dict[str, Any]:  # noqa: ANN401, ASYNC109
    """The next message of a `websockets` client, decoded."""
    async with asyncio.timeout(timeout):
        text = await client.recv()
    assert isinstance(text, str)
    message: dict[str, Any] = json.loads(text)
    return message


async def closed(client: Any, timeout: float = PATIENCE) -> Close:  # noqa: ANN401, ASYNC109
    """Read a `websockets` client to its end, and tell what the gateway closed it with."""
    async with asyncio.timeout(timeout):
        try:
            while True:
                await client.recv()
        except ConnectionClosed as error:
            if error.rcvd is None:
                raise
            return error.rcvd
