"""Bind the listening socket of a server, with clear errors."""

from __future__ import annotations

import errno
import socket

from ime_live.errors import SettingsError, system_reason
from ime_live.settings import bare_host, flag


def bind(host: str, port: int, *, options: tuple[str, str] = ("host", "port")) -> socket.socket:
    """Return a socket that is bound to an address and does not listen yet.

    Args:
        host: name or address of this machine.
        port: the port; 0 for any free port.
        options: names of the settings for host and port, for error messages.

    Raises:
        SettingsError: the port is in use, or this machine does not have the address.
    """
    host_flag, port_flag = map(flag, options)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            bare_host(host), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:  # UnicodeError: a label of a name is empty or too long
        raise SettingsError(f"{host_flag} {host} cannot be used: {system_reason(error)}") from error
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        in_use = error.errno == errno.EADDRINUSE
        hint = f"; stop the other program, or give another {port_flag}" if in_use else ""
        raise SettingsError(
            f"cannot listen on {host}:{port}: {system_reason(error)}{hint}"
        ) from error
    listener.setblocking(False)
    return listener
