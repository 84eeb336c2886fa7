"""A WebSocket: frames of the client are read in small slices, counted and limited."""

from __future__ import annotations

import asyncio
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side, State

from ime_live.gateway.auth.identity import Identity
from ime_live.gateway.http.lingering import CLOSE_TIMEOUT, LingeringClose
from ime_live.gateway.http.request_head import RequestHead, read_head
from ime_live.gateway.stream.connection import Connection
from ime_live.gateway.stream.websocket import WebSocketCodec
from tests.support.gateway_connections import Process, Transport
from tests.support.received import split
from tests.support.rows import each_row

PATH = "/live/data/websocket/contract/name"
EVENTS = "/live/data/sse/contract/name"
PONG = b"\x8a\x80abcd"  # masked, and empty


def masked(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """A client's frame, with a mask that changes nothing."""
    first = (0x80 if fin else 0) | rsv | opcode
    size = len(payload)
    length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2)
    return bytes((first,)) + length + bytes(4) + payload


PING = masked(Opcode.PING)
TEXT = masked(Opcode.TEXT, b"again")
PART = masked(Opcode.TEXT, b"", fin=False)
MORE = masked(Opcode.CONT, b"", fin=False)


def head(*lines: str, path: str = PATH, method: str = "GET", name: str = "KASH") -> RequestHead:
    """The head of a handshake."""
    fields = [
        f"{method} {path}?contract_names={name} HTTP/1.1", "Host: t", "Connection: Upgrade",
        "Upgrade: websocket", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *lines, "", "",
    ]  # fmt: skip
    return read_head("\r\n".join(fields).encode())


class Accepted(asyncio.Protocol):
    """Stands for the HTTP connection on which a handshake comes."""


class Client:
    """A client of a stream."""

    def __init__(
        self,
        process: Process,
        *lines: str,
        rest: bytes = b"",
        **request: str,
    ) -> None:
        self.transport = Transport(Accepted())
        self.codec = WebSocketCodec(process.context)
        self.stream = Connection(
            process.context, process.connections, self.codec, process.context.limits.admit()
        )
        self.transport.set_protocol(self.stream)
        self.stream.open(self.transport, head(*lines, **request), rest)

    @property
    def response(self) -> bytes:
        """The answer to the handshake."""
        return self.transport.written.partition(b"\r\n\r\n")[0]

    @property
    def frames(self) -> list[Frame]:
        """The frames that were written through the transport."""
        reader = Protocol(Side.CLIENT, state=State.OPEN)
        reader.receive_data(self.transport.written.partition(b"\r\n\r\n")[2])
        return [frame for frame in reader.events_received() if isinstance(frame, Frame)]

    @property
    def close(self) -> Close | None:
        """The close code and close reason."""
        closes = [frame for frame in self.frames if frame.opcode is Opcode.CLOSE]
        return Close.parse(closes[0].data) if closes else None

    @property
    def discards(self) -> bool:
        """Whether what it sends is thrown away."""
        return isinstance(self.transport.get_protocol(), LingeringClose)


async def opened(process: Process, *lines: str) -> Client:
    """A client whose stream is open."""
    client = Client(process, *lines)
    await process.settle()
    assert client.response.startswith(b"HTTP/1.1 101 ")
    return client


# The handshake


@pytest.mark.parametrize(
    ("request_", "status", "said"),
    [
        ({"path": EVENTS}, 400, b"send a GET without an upgrade"),
        ({"path": EVENTS, "method": "POST"}, 400, b"send a GET without an upgrade"),
        ({"path": "/health"}, 404, b"There is no stream at this path."),
        ({"method": "POST"}, 405, b"\r\nAllow: GET\r\n"),
    ],
)
async def test_handshake_on_a_path_without_a_websocket_is_rejected(
    request_: dict[str, str], status: int, said: bytes
) -> None:
    process = Process()
    client = Client(process, **request_, rest=b"\x81\x80abcd")
    assert client.transport.written.startswith(b"HTTP/1.1 %d " % status)
    assert said in client.transport.written
    assert b"\r\nConnection: close\r\n" in client.transport.written
    assert client.discards
    client.transport.send_eof()
    await process.settle()
    assert not process.connections


@each_row("version", ["8", "13, 13", "8, 13", "", "013"])
def test_handshake_of_a_wrong_version_is_answered_with_13(version: str) -> None:
    request = read_head(
        b"GET "
        + PATH.encode()
        + b" HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        + (f"Sec-WebSocket-Version: {version}\r\n".encode() if version else b"")
        + b"\r\n"
    )
    handshake = Process().context.handshake.negotiate(request)
    assert not handshake.accepted
    assert handshake.response.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nSec-WebSocket-Version: 13\r\n" in handshake.response


async def test_handshake_fields_may_be_split_over_lines() -> None:
    lines = ["Sec-WebSocket-Protocol: other", "sec-websocket-protocol:  ime-live ,token.x"]
    lines += ["Sec-WebSocket-Extensions: other", "Sec-WebSocket-Extensions: permessage-deflate"]
    client = await opened(Process(), *lines)
    assert b"\r\nSec-WebSocket-Protocol: ime-live\r\n" in client.transport.written
    assert b"\r\nSec-WebSocket-Extensions: permessage-deflate;" in client.transport.written


# Bytes with the handshake, or before its answer


ASKS = masked(Opcode.TEXT, b'{"action": "no", "id": 7}')


async def conversation(
    *, rest: bytes = b"", early: bytes = b"", late: bytes = b""
) -> list[tuple[int, bytes]]:
    """Return everything that a client receives.

    Args:
        rest: what it sends together with its handshake.
        early: what it sends before that is answered.
        late: what it sends afterwards.
    """
    process = Process()
    process.upstream.slow.clear()
    client = Client(process, rest=rest)
    if early:
        client.transport.send(early)
    await process.settle()
    assert client.transport.written == b""
    process.upstream.slow.set()
    await process.settle()
    if late:
        client.transport.send(late)
        await process.settle()
    return [(frame.opcode, bytes(frame.data)) for frame in client.frames]


async def test_frames_before_the_handshakes_answer_are_read_after_it() -> None:
    sent = masked(Opcode.PING, b"early") + masked(Opcode.PING, b"too")
    expected = [(Opcode.PONG, b"early"), (Opcode.PONG, b"too")]
    assert await conversation(late=sent) == expected
    assert await conversation(rest=sent) == expected
    assert await conversation(early=sent) == expected
    assert await conversation(early=sent[:3], late=sent[3:]) == expected
    assert await conversation(rest=sent[:3], late=sent[3:]) == expected


async def test_close_frame_with_the_handshake_is_answered() -> None:
    sent = masked(Opcode.CLOSE, (1000).to_bytes(2))
    assert await conversation(rest=sent) == [(Opcode.CLOSE, (1000).to_bytes(2))]


async def test_reading_pauses_until_the_handshake_is_answered() -> None:
    process = Process()
    process.upstream.slow.clear()
    client = Client(process)
    client.transport.send(PING * 100_000)
    await process.settle()
    assert client.transport.reads == 1
    process.upstream.slow.set()
    await process.settle()
    assert client.close == Close(1008, "too many messages")


# Too many frames


@pytest.mark.parametrize("frame", [PONG, PING, TEXT, MORE, masked(Opcode.BINARY, b"x")])
async def test_flood_is_closed_with_1008_after_bounded_work(frame: bytes) -> None:
    process = Process()
    client = await opened(process)
    if frame == MORE:
        client.transport.send(PART)
    parsed = 0
    receive = Protocol.receive_data

    def counted(self: Protocol, data: bytes | bytearray) -> None:
        nonlocal parsed
        parsed += len(data)
        receive(self, data)

    flood = frame * (8_000_000 // len(frame))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Protocol, "receive_data", counted)
        client.transport.send(flood)
        await process.settle()
    assert client.close == Close(1008, "too many messages")
    assert process.closed == [(1008, "too many messages")]
    # Fifty at once may come; the next one is the last that is parsed.
    assert parsed <= 51 * len(frame)
    assert client.discards
    # The rest is thrown away, a piece at a time, and before the connection's time is over.
    pieces = 0
    while client.transport.unread:
        process.timers.pass_time(0.01)
        before = client.transport.reads
        client.transport.send(b"")
        assert client.transport.reads <= before + 1
        pieces += 1
    assert pieces >= 30
    # A proxy would end the connection with our half, so that is closed when the client is quiet.
    written = client.transport.eof_written
    process.timers.pass_time(0.6)
    assert (written, client.transport.eof_written) == (False, True)
    client.transport.send_eof()
    await process.settle()
    assert client.transport.ended == "closed"
    assert not process.connections


@pytest.mark.parametrize("frame", [PONG, PING, TEXT])
async def test_flood_of_a_refused_client_is_discarded(frame: bytes) -> None:
    process = Process()
    client = Client(process, name="NOPE", rest=frame * 40_000)
    await process.settle()
    assert client.close == Close(1008, "unknown contract: NOPE")
    assert client.discards
    assert process.closed == [(1008, "unknown contract")]


async def test_frames_of_a_busy_client_are_read_in_many_turns() -> None:
    process = Process(client_rate=1_000_000.0)
    busy, other = await opened(process), await opened(process)
    busy.transport.send(PING * 10_000)
    assert 0 < len(busy.frames) < 100
    assert not busy.transport.is_reading()
    other.transport.send(PING)
    process.loop.take_turn()
    assert len(other.frames) == 1
    assert await process.settle() > 100
    assert len(busy.frames) == 10_000
    assert busy.transport.is_reading()


async def test_pongs_that_answer_pings_are_never_limited() -> None:
    process = Process(client_rate=0.25, ping_interval=1.0, ping_timeout=5.0)
    client = await opened(process)
    for number in range(1000):
        process.timers.pass_time(1.0)
        process.heartbeat.tick(process.timers.now)
        if number % 3 == 2:  # late, but before the time is over
            for _ in range(3):
                client.transport.send(PONG)
    # The same once it has sent something else, and when it could not take data for a while.
    client.transport.send(PING)
    await process.settle()
    for number in range(100):
        process.timers.pass_time(1.0)
        process.heartbeat.tick(process.timers.now)
        if number % 10 == 5:
            client.stream.pause_writing()
            client.stream.resume_writing()
        client.transport.send(PONG)
        await process.settle()
    assert client.close is None
    assert process.closed == []


async def test_unsolicited_pongs_count_against_the_rate() -> None:
    process = Process()
    client = await opened(process)
    client.transport.send(PONG * 50)
    await process.settle()
    assert client.close is None
    process.timers.pass_time(1.0)
    client.transport.send(PONG * 10)
    await process.settle()
    assert client.close is None
    client.transport.send(PONG)
    await process.settle()
    assert client.close == Close(1008, "too many messages")


async def test_empty_pong_that_answers_a_ping_makes_no_parser() -> None:
    process = Process()
    client = await opened(process)
    process.timers.pass_time(25.0)
    process.heartbeat.tick(process.timers.now)
    client.transport.send(PONG)
    assert client.codec._frames is None
    process.timers.pass_time(15.0)
    process.heartbeat.tick(process.timers.now)
    assert client.close is None


# The end


async def test_close_frame_of_the_client_ends_the_closing_handshake() -> None:
    process = Process()
    client = Client(process, name="NOPE")
    await process.settle()
    assert client.close == Close(1008, "unknown contract: NOPE")
    before = client.discards
    client.transport.send(masked(Opcode.CLOSE, (1008).to_bytes(2)))
    assert (before, client.discards) == (False, True)
    assert client.transport.eof_written
    client.transport.send_eof()
    await process.settle()
    assert client.transport.ended == "closed"


async def test_unanswered_close_aborts_after_the_timeout() -> None:
    process = Process()
    client = Client(process, name="NOPE")
    await process.settle()
    process.timers.pass_time(CLOSE_TIMEOUT - 1)
    client.transport.send(PING * 60)
    await process.settle()
    assert client.discards
    process.timers.pass_time(1.1)
    await process.settle()
    assert client.transport.ended == "aborted"
    assert not process.connections


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (masked(Opcode.TEXT, b"x" * 4097), 1009),
        (masked(Opcode.TEXT, b"\xff"), 1007),
        (b"\x81\x05hello", 1002),
    ],
)
async def test_frames_after_a_protocol_error_are_discarded(sent: bytes, code: int) -> None:
    process = Process()
    client = await opened(process)
    client.transport.send(sent + PING * 100_000)
    await process.settle()
    assert client.close is not None
    assert client.close.code == code
    assert client.discards
    process.timers.pass_time(0.6)
    assert client.transport.eof_written


@pytest.mark.parametrize("open_", [True, False])
async def test_half_close_ends_the_stream(open_: bool) -> None:
    process = Process()
    if not open_:
        process.upstream.slow.clear()
    client = Client(process)
    await process.settle()
    client.transport.send_eof()
    await process.settle()
    assert client.transport.ended == "closed"
    assert process.closed == ([(1006, "connection lost")] if open_ else [])
    assert not process.connections


async def test_reset_while_frames_are_read_ends_the_stream() -> None:
    process = Process(client_rate=1_000_000.0)
    client = await opened(process)
    client.transport.send(PING * 40_000)
    client.transport.abort()
    await process.settle()
    assert not process.connections
    assert process.closed == [(1006, "connection lost")]


# Compression


def deflated(*parts: bytes) -> bytes:
    """The frames of a message in these parts, as permessage-deflate has it (RFC 7692, 7.2)."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    frames, last = b"", len(parts) - 1
    for number, part in enumerate(parts):
        data = squeeze.compress(part) + squeeze.flush(zlib.Z_SYNC_FLUSH)
        opcode, rsv = (Opcode.CONT, 0) if number else (Opcode.TEXT, 0x40)
        end = data.removesuffix(b"\x00\x00\xff\xff") if number == last else data
        frames += masked(opcode, end, fin=number == last, rsv=rsv)
    return frames


async def test_compressed_fragments_of_two_clients_do_not_mix() -> None:
    """Connections with equal agreements share one object; each decompresses its own messages."""
    process = Process(client_rate=1_000_000.0)
    clients = [
        await opened(process, "Sec-WebSocket-Extensions: permessage-deflate") for _ in range(2)
    ]
    texts = [f'{{"action": "no", "id": {number}}}'.encode() for number in (7, 8)]
    halves = [deflated(text[:9], text[9:]) for text in texts]
    step = 5
    for at in range(0, max(map(len, halves)), step):
        for client, half in zip(clients, halves, strict=True):
            client.transport.send(half[at : at + step])
        await process.settle()
    for client, number in zip(clients, (7, 8), strict=True):
        assert client.close is None
        reader = Protocol(Side.CLIENT, state=State.OPEN)
        reader.extensions = [PerMessageDeflate(True, True, 15, 15)]
        reader.receive_data(client.transport.read_from_hub())
        [answer] = reader.events_received()
        assert isinstance(answer, Frame)
        assert b'"id":%d' % number in bytes(answer.data)


@pytest.mark.parametrize(
    "parts", [[3_000_000], [4097], [4000, 97], [4096, 1], [4096, 3_000_000], [1] * 20 + [3_000_000]]
)
async def test_compressed_message_too_big_is_closed_with_1009(parts: list[int]) -> None:
    process = Process()
    client = await opened(process, "Sec-WebSocket-Extensions: permessage-deflate")
    client.transport.send(deflated(*(b"x" * size for size in parts)))
    await process.settle()
    assert client.close is not None
    assert client.close.code == 1009
    assert client.discards


# However the bytes are split


_FRAMES = st.lists(
    st.sampled_from(
        [
            PONG, PING, TEXT, PART, MORE, masked(Opcode.CONT, b"x"),
            masked(Opcode.PING, b"a" * 125), masked(Opcode.PING, b"a" * 126), b"\x81",
            masked(Opcode.TEXT, b"x" * 4096),
            masked(Opcode.TEXT, b"x" * 4097), masked(Opcode.TEXT, b"\xff"), ASKS, masked(0x3),
            masked(Opcode.BINARY, b"\xff"), masked(Opcode.CLOSE, (1000).to_bytes(2)), b"\x00",
        ]
    ),
    max_size=12,
).map(b"".join)  # fmt: skip


async def answers_to(
    pieces: list[bytes],
) -> tuple[list[tuple[int, bytes]], list[tuple[int, str]], bool]:
    """Return a client's frames for these pieces, its stream's end, and whether it is discarded."""
    process = Process()
    client = await opened(process)
    for piece in pieces:
        client.transport.send(piece)
        await process.settle()
    got = [(int(frame.opcode), bytes(frame.data)) for frame in client.frames]
    return got, process.closed, client.discards


@given(_FRAMES, st.data())
def test_split_frames_get_the_same_answers(sent: bytes, data: st.DataObject) -> None:
    assert asyncio.run(answers_to(split(sent, data))) == asyncio.run(answers_to([sent]))


async def test_failed_handshakes_are_logged_once_per_kind() -> None:
    class Failing:
        async def authenticate(self, token: str | None) -> Identity:
            raise RuntimeError("a defect")

    process = Process()
    parts: Any = process.context
    parts.authenticator = Failing()
    with capture_logs() as logs:
        clients = [Client(process) for _ in range(5)]
        await process.settle()
    assert {frame.opcode for client in clients for frame in client.frames} == {Opcode.CLOSE}
    errors = [line["event"] for line in logs if line["log_level"] == "error"]
    assert errors == ["stream cannot be opened"]
