"""The limit of open files: what is refused for it leaves a line in the log."""

from __future__ import annotations

import resource
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from tests.stream.conftest import Serve
from tests.support.gateways import Gateway, RawClient

Eventually = Callable[..., Awaitable[None]]

EVENT = (
    "connections are refused, because no more files can be opened; raise LimitNOFILE (ulimit -n)"
)


def open_files(pid: int) -> int:
    """How many a process has."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def served(gateway: Gateway) -> bool:
    """Whether it answers."""
    try:
        return gateway.get("/health").status == 200
    except OSError:
        return False


async def test_connections_beyond_the_file_limit_are_logged(
    serve: Serve, eventually: Eventually
) -> None:
    gateway = serve()
    pid = gateway.process.pid
    _, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    limit = open_files(pid) + 4
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, most))
    async with AsyncExitStack() as stack:
        for _ in range(10):
            await stack.enter_async_context(await RawClient.open(gateway.port))
        await eventually(lambda: gateway.events(EVENT))
    # Accepted clients are still served, later ones once these have left; logged once.
    await eventually(lambda: served(gateway))
    [line] = gateway.events(EVENT)
    assert (line["level"], line["limit"]) == ("error", limit)
    assert line["error"] == "too many open files"
