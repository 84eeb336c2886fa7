"""The peer of a connection: its address, and the bytes that it has acknowledged."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Final

# Of `struct tcp_info` (linux/tcp.h): the offset of tcpi_bytes_acked, a number of 64 bits.
_BYTES_ACKED: Final = 120


def acknowledged_bytes(descriptor: int) -> int | None:
    """Return the number of bytes that a peer has acknowledged; None except on Linux.

    The kernel counts them anyway, so the hot path need not count the bytes of messages.

    Args:
        descriptor: file descriptor of the socket; negative for a connection without one.
    """
    if sys.platform != "linux" or descriptor < 0:
        return None
    try:
        # A second socket object for the descriptor, which must not close it, hence `detach`.
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
    """Return the address of the peer of a transport, for the log."""
    peer = transport.get_extra_info("peername")
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else str(peer or "-")
