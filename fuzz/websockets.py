"""Target: the frames that a client sends on a WebSocket."""

from __future__ import annotations

import json
from random import Random
from typing import Final
from zlib import crc32

from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side, State

from fuzz.memory_gateway import MemoryGateway, in_loop
from fuzz.target import Target

_HANDSHAKE: Final = (
    b"GET /live/data/websocket/contract/name?contract_names=KASH&snapshot=true HTTP/1.1\r\n"
    b"Host: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%b\r\n"
)
_OFFER: Final = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"

_CODES: Final = frozenset({1000, 1002, 1003, 1007, 1008, 1009})


async def _converse(data: bytes) -> None:
    # The first byte tells whether compression is offered, and whether the frames come in pieces.
    choice, received = (data[0], data[1:]) if data else (0, b"")
    compressed = bool(choice & 1)
    gateway = MemoryGateway()
    connection = gateway.connect()
    connection.send(_HANDSHAKE % (_OFFER if compressed else b""))
    await gateway.settle()
    gateway.world.tick()
    head = connection.written
    assert head.startswith(b"HTTP/1.1 101 ")
    first = connection.read_from_hub()
    if choice & 2:
        random = Random(crc32(data))
        while received:
            size = random.randint(1, 1 + len(received) // 2)
            connection.send(received[:size])
            received = received[size:]
            await gateway.settle()
    await gateway.receive(connection, received)
    written = connection.written[len(head) :]
    closes = _check_frames(first + connection.read_from_hub() + written, compressed=compressed)
    sent = _codes_sent(data[1:])
    assert closes is None or closes in _CODES or closes in sent, f"close code {closes}"
    # The end is the client's, the codec's or that of the connection.
    assert len(gateway.closed) == 1, gateway.closed
    assert not gateway.connections, "a connection is not forgotten"
    assert not gateway.wanted, "contracts are not released"


def _check_frames(written: bytes, *, compressed: bool) -> int | None:
    """Check that a client can read what the gateway writes, and return the close code, if any."""
    reader = Protocol(Side.CLIENT, state=State.OPEN)
    if compressed:
        factory = ClientPerMessageDeflateFactory(
            server_no_context_takeover=True, client_no_context_takeover=True
        )
        accepted = [("server_no_context_takeover", None), ("client_no_context_takeover", None)]
        reader.extensions = [factory.process_response_params(accepted, [])]
    reader.receive_data(written)
    assert reader.parser_exc is None, reader.parser_exc
    frames = [event for event in reader.events_received() if isinstance(event, Frame)]
    texts = [frame.data for frame in frames if frame.opcode is Opcode.TEXT]
    assert all("channel" in json.loads(bytes(text)) for text in texts)
    closes = [frame for frame in frames if frame.opcode is Opcode.CLOSE]
    assert closes == frames[-1:] or not closes, "a frame follows the close frame"
    return int(Close.parse(closes[0].data).code) if closes else None


def _codes_sent(received: bytes) -> set[int]:
    """Return the close codes that a client's bytes may hold, in any frame and with any mask."""
    reader = Protocol(Side.SERVER, state=State.OPEN)
    reader.receive_data(received)
    found = [event for event in reader.events_received() if isinstance(event, Frame)]
    codes = {int.from_bytes(frame.data[:2]) for frame in found if frame.opcode is Opcode.CLOSE}
    # A close frame without a code is answered by one without a code.
    return codes | {1005}


def masked(opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0) -> bytes:
    """Return a client's frame, with a mask that changes nothing."""
    size = len(payload)
    first = (0x80 if fin else 0) | rsv | opcode
    length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2)
    return bytes((first,)) + length + bytes(4) + payload


_COMMANDS: Final = (
    b'{"action":"subscribe","contract_names":["KASH"],"id":1}',
    '{"action":"unsubscribe","contract_ids":["1",2],"id":"سکه"}'.encode(),
    b'{"action":"subscribe","market":"IMEOption","underlying":["KA"],"by":"id","snapshot":true}',
    b'{"action":"subscribe","contract_names":["K*","id:3"]}',
)

TARGETS: Final = (
    Target(
        "websockets",
        "frames and commands of clients (`gateway/stream`), with compression and without",
        in_loop(_converse),
        (),
        (
            *(masked(Opcode.TEXT, command) for command in _COMMANDS),
            *(masked(opcode, b"") for opcode in range(16)),
            *(
                masked(Opcode.CLOSE, code.to_bytes(2))
                for code in (1000, 1005, 1006, 1015, 3000, 5000)
            ),
            masked(Opcode.TEXT, b"a", fin=False),
            masked(Opcode.CONT, b"\xff"),
            masked(Opcode.TEXT, b"\xaaV*.\xc9L\xcbL.Q\x02\x00", rsv=0x40),
            b"\xfe\xff\xff",
            b"\xff\x7f\xff\xff\xff\xff\xff\xff\xff",
            b"\x81",
            b"\x80",
            *_COMMANDS,
        ),
    ),
)
