"""Run the gateway: bind the port, and run one or several processes until a signal.

uvicorn accepts the connections; `ime_live.gateway.workers` supervises several processes.
"""

from __future__ import annotations

import asyncio
import math
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from multiprocessing import connection
from types import FrameType
from typing import Any, Final

import structlog
import uvicorn

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.errors import SettingsError, system_reason
from ime_live.gateway.app import GATEWAY, Application
from ime_live.gateway.auth.keys import authenticator_from, check_key_url
from ime_live.gateway.gateway import Gateway
from ime_live.gateway.http.lingering import CLOSE_TIMEOUT
from ime_live.gateway.http_protocol import CONTEXT, HttpProtocol
from ime_live.gateway.pid_file import PidFile
from ime_live.gateway.stream.context import GatewayContext
from ime_live.gateway.worker_metrics import MULTIPROCESS_VARIABLE, metrics_folder
from ime_live.gateway.workers import WorkerHeartbeat, Workers
from ime_live.log_limiter import LogLimiter
from ime_live.logs import configure_logging
from ime_live.process import signals
from ime_live.process.listener import bind
from ime_live.process.reload import Reloader, log_refusal
from ime_live.settings import GatewaySettings, local_address, url_host
from ime_live.store.store import Store, check_settings

log = structlog.get_logger()

_BACKLOG: Final = 4096

_BEAT: Final = 0.5  # seconds

_TCP_NOTSENT_LOWAT: Final[int | None] = getattr(socket, "TCP_NOTSENT_LOWAT", None)
_TCP_USER_TIMEOUT: Final[int | None] = getattr(socket, "TCP_USER_TIMEOUT", None)


class GatewayConfig(uvicorn.Config):
    """uvicorn's configuration for a gateway."""

    def __init__(self, settings: GatewaySettings, clock: Clock = SYSTEM_CLOCK) -> None:
        self.settings = settings
        self.clock = clock
        super().__init__(
            "ime_live.gateway.app:Application",
            factory=True,
            http=HttpProtocol,
            ws="none",
            loop="uvloop",
            lifespan="on",
            workers=settings.workers,
            backlog=_BACKLOG,
            log_config=None,
            # The query of a request may contain a token, and streams have log lines of their own.
            access_log=False,
            proxy_headers=False,
            server_header=False,
            # This timeout begins after the drain.
            timeout_graceful_shutdown=int(CLOSE_TIMEOUT) + 1,
        )

    def configure_logging(self) -> None:
        """Set up the log; uvicorn calls this in each process."""
        configure_logging(self.settings)
        super().configure_logging()

    def load_app(self) -> Any:  # noqa: ANN401 - as uvicorn has it
        """Return the factory of the application."""
        return lambda: Application(self.settings, self.clock)


class GatewayServer(uvicorn.Server):
    """uvicorn's server, which drains before it stops, and exits with status 0 after a signal."""

    def __init__(
        self,
        config: GatewayConfig,
        beat: Callable[[], None] = lambda: None,
        *,
        reloader: Reloader[GatewaySettings] | None = None,
        inbox: connection.Connection | None = None,
    ) -> None:
        """Make a server.

        Args:
            config: the configuration.
            beat: called twice a second while the event loop runs, after the server has started.
            reloader: reads the settings again on SIGHUP; None for one of several workers.
            inbox: connection of a worker to its supervisor, which sends new settings.
        """
        super().__init__(config)
        self._beat = beat
        self._limited = LogLimiter(log)
        self._reloader = reloader
        self._inbox = inbox
        self._hangup = asyncio.Event()
        self._received: GatewaySettings | None = None
        """Settings from the inbox that are not in force yet."""
        self._stopping = False
        self._draining: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Stop as on SIGTERM."""
        self.handle_exit(signal.SIGTERM, None)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain and stop; a second SIGINT stops at once, without waiting for clients.

        The first SIGINT skips the grace for load balancers, because it comes from a terminal.
        """
        del frame
        if self._stopping and sig == signal.SIGINT:
            self.force_exit = self.should_exit = True
        self._stopping = True
        if self.started:
            self.drain(grace=sig != signal.SIGINT)
        else:
            self.should_exit = True

    def drain(self, *, grace: bool = True) -> None:
        """Drain without stopping, as on SIGUSR2; a second call does nothing.

        Args:
            grace: whether to wait for load balancers first.
        """
        if self._draining is None and self.started:
            context: GatewayContext = self.lifespan.state[CONTEXT]
            self._draining = asyncio.get_running_loop().create_task(context.drain.run(grace=grace))

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until stopped."""
        tasks = [asyncio.create_task(run()) for run in (self._keep_beating, self._keep_reloading)]
        try:
            with self._read_inbox():
                await super().serve(sockets)
        finally:
            for task in tasks:
                task.cancel()

    @contextmanager
    def _read_inbox(self) -> Generator[None, None, None]:
        if self._inbox is None:
            yield
            return
        loop, inbox = asyncio.get_running_loop(), self._inbox

        def take() -> None:
            with suppress(EOFError, OSError):
                self._received = inbox.recv()
                self._hangup.set()
                return
            loop.remove_reader(inbox.fileno())
            # A worker without its supervisor would keep the port forever.
            log.error("the process that started this worker is gone; stopping")
            # Without the grace: nobody can have the port before it is over.
            self.handle_exit(signal.SIGINT, None)

        loop.add_reader(inbox.fileno(), take)
        try:
            yield
        finally:
            loop.remove_reader(inbox.fileno())

    async def _keep_reloading(self) -> None:
        while True:
            await self._hangup.wait()
            while not self.started:  # noqa: ASYNC110 - uvicorn has no event
                await asyncio.sleep(_BEAT)
            self._hangup.clear()
            try:
                await self._reload(self.lifespan.state[GATEWAY])
            except SettingsError as error:
                log_refusal(error)
            except Exception:
                log.exception("settings cannot be reloaded")

    async def _reload(self, gateway: Gateway) -> None:
        if self._received is not None:
            settings, self._received = self._received, None
            await gateway.reload(settings)
        elif self._reloader is not None and (reloaded := self._reloader.read()) is not None:
            await gateway.reload(reloaded.settings)
            self._reloader.accept(reloaded)

    async def _keep_beating(self) -> None:
        while True:
            if self.started:  # without a beat, the supervisor knows that the worker did not start
                self._beat()
            await asyncio.sleep(_BEAT)

    async def on_tick(self, counter: int) -> bool:
        """Do periodic work, ten times a second; return whether to stop."""
        self._check_open_files()
        if self._draining is not None and self._draining.done():
            self._draining.result()
            self.should_exit = self.should_exit or self._stopping
        return await super().on_tick(counter)

    def _check_open_files(self) -> None:
        # Without a free file descriptor, libuv closes new connections, and reports nothing.
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            self._limited.error(
                "connections are refused, because no more files can be opened; raise LimitNOFILE "
                "(ulimit -n)",
                key=error.errno,
                error=system_reason(error),
                limit=limit,
            )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the connections, and end the lifespan."""
        await super().shutdown(sockets)
        if self.force_exit:  # then uvicorn does not end the lifespan
            await self.lifespan.shutdown()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop on SIGTERM and SIGINT, and drain on SIGUSR2.

        Unlike uvicorn, this does not raise the signal again afterwards.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        with signals.handle(
            lambda number: self.handle_exit(number, None),
            hangup=self._on_hangup,
            drain=self.drain,
        ):
            yield

    def _on_hangup(self) -> None:
        if self._reloader is not None:
            self._hangup.set()
        elif self._inbox is None:
            signals.report_hangup()
        # Else a terminal has sent the signal to the process group, including the supervisor.


def limit_connections(listener: socket.socket, settings: GatewaySettings) -> None:
    """Set socket options: limit the kernel's buffers, and end connections of vanished peers.

    Newer states cannot replace data in the kernel's buffers. A missing pong reveals a vanished
    peer, but clients of server-sent events send none, so the TCP user timeout ends them. A slow
    client still acknowledges data, and the `slow_client_timeout` applies to it. Connections inherit
    the options of the listener, which saves system calls per connection.
    """
    if settings.send_buffer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, settings.send_buffer)
    if settings.unsent_limit and _TCP_NOTSENT_LOWAT is not None:
        listener.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, settings.unsent_limit)
    if _TCP_USER_TIMEOUT is not None:
        seconds = max(settings.ping_interval + settings.ping_timeout, settings.slow_client_timeout)
        listener.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, math.ceil(seconds * 1000))


def check(settings: GatewaySettings) -> None:
    """Check the keys and the store, without serving; the port may be in use.

    Raises:
        SettingsError: a gateway cannot run with these settings.
        StoreError: Redis cannot be reached; a gateway would start and wait for it.
    """
    configure_logging(settings)
    authenticator_from(settings)
    asyncio.run(_check_store(settings))


async def _check_store(settings: GatewaySettings) -> None:
    async with Store(settings) as store:
        await store.check(writes=False)


def serve(settings: GatewaySettings, reread: Callable[[], GatewaySettings]) -> None:
    """Run the gateway until SIGTERM or Ctrl-C; SIGUSR2 drains it.

    Args:
        settings: the settings.
        reread: reads the settings again from their sources, on SIGHUP; raises SettingsError.

    Raises:
        SettingsError: a gateway cannot run with these settings.
    """
    configure_logging(settings)
    # Before any worker starts, so that a fault of keys, port or store is reported only once.
    authenticator_from(settings)
    listener = bind(settings.host, settings.port)
    listener.set_inheritable(True)
    with ExitStack() as stack:
        stack.enter_context(listener)
        asyncio.run(check_settings(settings, writes=False))
        limit_connections(listener, settings)
        config = GatewayConfig(settings)
        host, port = listener.getsockname()[:2]
        if settings.pid_file:
            url = f"http://{url_host(local_address(host))}:{port}"
            stack.enter_context(PidFile(settings.pid_file).held(url))
        if settings.workers > 1:
            folder = stack.enter_context(metrics_folder(settings.workers))
            os.environ[MULTIPROCESS_VARIABLE] = folder
        log.info(
            "listening", host=host, port=port, workers=settings.workers, auth=settings.auth.value
        )
        reloader = Reloader(settings, reread, check=authenticator_from)
        if settings.workers == 1:
            GatewayServer(config, reloader=reloader).run([listener])
            return
        # Longer than a worker needs to close its streams and its parts.
        timeout = settings.shutdown_grace + settings.shutdown_spread + 3 * CLOSE_TIMEOUT
        work = partial(_work, settings, listener)
        reload = partial(_read_for_workers, reloader)
        Workers(work, settings.workers, stop_timeout=timeout, reload=reload).run()


def _read_for_workers(reloader: Reloader[GatewaySettings]) -> GatewaySettings | None:
    reloaded = reloader.read()
    if reloaded is None:
        return None
    if reloaded.settings.jwks != reloader.settings.jwks:
        try:
            asyncio.run(check_key_url(reloaded.settings))
        except SettingsError as error:
            log_refusal(error)
            return None
    reloader.accept(reloaded)
    return reloaded.settings


def _work(
    settings: GatewaySettings,
    listener: socket.socket,
    heartbeat: WorkerHeartbeat,
    inbox: connection.Connection,
    reloaded: GatewaySettings | None,
) -> None:
    """Run one of several workers."""
    settings = reloaded or settings
    configure_logging(settings)
    GatewayServer(GatewayConfig(settings), heartbeat.beat, inbox=inbox).run([listener])
