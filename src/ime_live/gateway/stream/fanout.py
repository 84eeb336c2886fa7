"""Send the same bytes to many sockets: the fan-out of an update, for all groups in one call.

`send` is a function in C (`_fanout.c`) where the package was installed with a compiler, and
`send_in_python` elsewhere. Both do the same; C takes a sixth less CPU per message. With the
environment's variable `NO_EXTENSIONS` nothing is built at the installation, or used later.

A batch is what to send and the sockets it goes to: a dictionary from each socket's owner to its
file descriptor. What one socket gets may be a list of buffers, which C sends without joining them.
No byte may reach a connection that has taken over a descriptor's number. One rule of the caller
ensures it: **an entry leaves its dictionary before its socket is closed.** It is enough because of
three facts:

- All this happens on the event loop's thread: adding, removing, closing and sending.
- Nothing else runs on this thread during `send`, so what is in a dictionary when it begins is open
  until it ends, and the dictionary cannot change meanwhile.
- An owner keeps its socket's object alive, so no socket is closed by being forgotten.

The transport must hold no data of its own for a socket in a batch, which would be overtaken.
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
"""Descriptors of sockets by their owners, and what to send to each of them."""

Shortfall = tuple[Owner, Data, int, int]
"""An owner whose socket took less than all: the data, how many bytes of it were taken, and an
``errno``. It is 0 if the socket may take the rest later; else the connection is broken."""


def send_in_python(batches: list[Batch[Owner]], /) -> tuple[Shortfall[Owner], ...]:
    """Send each batch's data to each of its sockets, without waiting.

    Args:
        batches: sockets that do not block. A negative descriptor stands for a connection that
            only its transport can write to, such as one with TLS: it takes nothing. An owner
            is in one batch only, or what follows a shortfall would be sent before its rest.

    Returns:
        Those that took less than all, in the order of the batches; almost always empty.

    Raises:
        TypeError: the batches have other types. Nothing was sent.
    """
    _check(batches)
    found: list[Shortfall[Owner]] = []
    for writers, data in batches:
        buffer = data if isinstance(data, bytes) else b"".join(data)
        size = len(buffer)
        # A copy: a finalizer may run at any time and end a connection. `list(writers.items())`
        # would make tuples while it iterates, and each of them may start the garbage collector.
        for owner, descriptor in writers.copy().items():
            error = 0
            try:
                taken = os.write(descriptor, buffer) if descriptor >= 0 else 0
            except BlockingIOError:
                taken = 0
            except OSError as failure:
                taken, error = 0, failure.errno or errno.EIO
            except (TypeError, OverflowError):  # one entry's fault is its own
                taken, error = 0, errno.EBADF
            if taken != size or error:
                found.append((owner, data, taken, error))
    return tuple(found)


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

# Of the extension: one that was built from another version would lose messages.
_INTERFACE: Final = 2

send = send_in_python
IMPLEMENTATION: Literal["c", "python"] = "python"
"""Which one `send` is."""

if not os.environ.get(NO_EXTENSIONS):
    with suppress(ImportError):  # where it was not built
        from ime_live.gateway.stream import _fanout

        if getattr(_fanout, "INTERFACE", None) == _INTERFACE:
            send = _fanout.send
            IMPLEMENTATION = "c"
        else:
            warnings.warn(
                f"{_fanout.__file__} must be built from this version, but is another one's; "
                "install the package again. Until then, Python sends.",
                RuntimeWarning,
                stacklevel=1,
            )
