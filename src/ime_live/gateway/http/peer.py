"""The peer of a connection: its address, and the bytes that it has acknowledged."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Final

# Of `struct tcp_info` (linux/tcp.h): the offset of tcpi_bytes_acked, a number of 64 bits.
_BYTES_ACKED: Final = 120


def acknowledged_bytes(descriptor: int) -> int | None:
    """Return how many bytes a peer has acknowledged; None where the system does not tell (Linux).

    The kernel counts them anyway, so nothing must be counted for each message.
    """
    if sys.platform != "linux" or descriptor < 0:  # as of a connection without a socket of its own
        return None
    try:
        # A second object of the same descriptor, which is detached before it would close it.
        peer = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=descriptor)
    except OSError:
        return None
    try:
        info = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED + 8)
    except OSError:
        return None
    finally:
        peer.detach()
    if len(info) < _BYTES_ACKED + 8:
        return None
    return int.from_bytes(info[_BYTES_ACKED:], sys.byteorder)


def peer_of(transport: asyncio.Transport) -> str:
    """Return the address of a transport's other end, for the log."""
    peer = transport.get_extra_info("peername")
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else str(peer or "-")
