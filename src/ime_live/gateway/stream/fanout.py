"""Send the same bytes to many sockets: the fan-out of an update, for all groups in one call.

`send` is a function in C (`_fanout.c`) if the package was installed with a compiler, else
`send_in_python`. Both do the same; C takes a sixth less CPU per message. If the environment
variable `NO_EXTENSIONS` is set, the C module is neither built at installation nor used.

A batch is a dictionary of sockets and the data to send to each of them. The dictionary maps the
owner of each socket to its file descriptor. The data may be a list of buffers, which C sends
without joining them. No byte may reach another connection that has got the same descriptor. The
caller ensures this by one rule: **remove an entry from its dictionary before its socket is
closed.** The rule suffices for three reasons:

- Entries are added and removed, and sockets are closed and written to, on the event loop's thread.
- Nothing else runs on this thread during `send`, so all sockets in a dictionary stay open, and the
  dictionary cannot change.
- An owner holds a reference to its socket object, so no socket is closed by the garbage collector.

The transport of a socket in a batch must have an empty buffer, or its data would be overtaken.
"""

from __future__ import annotations

import errno
import os
import warnings
from contextlib import suppress
from typing import Final, Literal, TypeVar

Owner = TypeVar("Owner")

Data = bytes | list[bytes]

Batch = tuple[dict[Owner, int], Data]
"""Owners of sockets with their descriptors, and the data to send to each of them."""

Shortfall = tuple[Owner, Data, int, int]
"""An owner whose socket accepted less than all bytes: the data, the number of accepted bytes, and
an ``errno``. It is 0 if the socket may accept the rest later; else the connection is broken."""


def send_in_python(batches: list[Batch[Owner]], /) -> tuple[Shortfall[Owner], ...]:
    """Send each batch's data to each of its sockets, without waiting.

    Args:
        batches: non-blocking sockets, with their data. A negative descriptor stands for a
            connection that only its transport can write to, such as one with TLS: nothing is sent.
            An owner must be in one batch only, or later data would be sent before the rest of a
            shortfall.

    Returns:
        The sockets that did not accept all bytes, in the order of the batches; almost always empty.

    Raises:
        TypeError: the batches have other types. Nothing was sent.
    """
    _check(batches)
    shortfalls: list[Shortfall[Owner]] = []
    for writers, data in batches:
        buffer = data if isinstance(data, bytes) else b"".join(data)
        size = len(buffer)
        # A copy: a finalizer may run at any time and end a connection. `list(writers.items())`
        # would make tuples while it iterates, and each of them may start the garbage collector.
        for owner, descriptor in writers.copy().items():
            error = 0
            try:
                sent = os.write(descriptor, buffer) if descriptor >= 0 else 0
            except BlockingIOError:
                sent = 0
            except OSError as failure:
                sent, error = 0, failure.errno or errno.EIO
            except (TypeError, OverflowError):  # a wrong entry must not affect the others
                sent, error = 0, errno.EBADF
            if sent != size or error:
                shortfalls.append((owner, data, sent, error))
    return tuple(shortfalls)


def _check(batches: list[Batch[Owner]]) -> None:
    if not isinstance(batches, list):
        raise TypeError("batches must be a list")
    for batch in batches:
        match batch:
            case (dict(), bytes()) if isinstance(batch, tuple):
                pass
            case (dict(), list(parts)) if isinstance(batch, tuple) and all(
                isinstance(part, bytes) for part in parts
            ):
                pass
            case _:
                raise TypeError("a batch must be a tuple of a dict and bytes, or a list of bytes")


NO_EXTENSIONS: Final = "IME_LIVE_NO_EXTENSIONS"

# Version of the C module's interface. A module built from another version would lose messages.
_INTERFACE: Final = 2

send = send_in_python
IMPLEMENTATION: Literal["c", "python"] = "python"
"""The language of `send`."""

if not os.environ.get(NO_EXTENSIONS):
    with suppress(ImportError):  # it was not built
        from ime_live.gateway.stream import _fanout

        if getattr(_fanout, "INTERFACE", None) == _INTERFACE:
            send = _fanout.send
            IMPLEMENTATION = "c"
        else:
            warnings.warn(
                f"{_fanout.__file__} must be built from this version of ime-live, but was built "
                "from another one; install the package again. Until then, the slower "
                "implementation in Python is used.",
                RuntimeWarning,
                stacklevel=1,
            )
