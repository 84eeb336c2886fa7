"""Connections of the REST calls, kept for the next call.

A new connection costs more than a call, above all with TLS. Several threads may call at the same
time; each call has a connection to itself.
"""

from __future__ import annotations

import http.client
import selectors
import ssl as tls
import threading
import time
import weakref
from collections.abc import Mapping
from typing import Final

import msgspec

from ime_live.client import verdict
from ime_live.client.address import Service
from ime_live.client.http import Answer, Connection, EndedError, ProxyStatusError
from ime_live.client.network import Ending, of_network
from ime_live.client.proxy import Proxy, proxy_for

_MOST_IDLE: Final = 10
_IDLE: Final = 60.0  # seconds; routers on the way forget a silent connection after minutes


class Connections:
    """Connections to one service: as many as calls run at a time, and some kept idle.

    Those that are idle when nobody uses this object any more are closed then.

    Attributes:
        reached: whether the service has answered a call as it should.
    """

    def __init__(
        self,
        service: Service,
        *,
        ssl: tls.SSLContext | None,
        proxy: Proxy,
        connect_timeout: float,
        read_timeout: float,
    ) -> None:
        """Connect nothing yet.

        Args:
            service: where to.
            ssl: for TLS; by default the system's certificates are trusted.
            proxy: a proxy's URL; True takes it from the environment, None uses none.
            connect_timeout: seconds for connecting, TLS and proxy included.
            read_timeout: seconds for the request and the whole of the answer.
        """
        self._service = service
        self._ssl = ssl
        self._proxy = proxy
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self.reached = False
        self._lock = threading.Lock()
        self._idle: list[tuple[Connection, float]] = []
        self._closed = False
        weakref.finalize(self, _close_all, self._idle)

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Get an answer.

        Args:
            url: of the service.
            headers: to send.

        Raises:
            EndedError: there was none, or it was too large.
            ServiceError: the environment's proxy cannot be used.
            ImportError: a SOCKS proxy needs another package.
        """
        while (kept := self._take()) is not None:
            try:
                return self._talk(kept, url, headers)
            except EndedError as error:
                # The service had closed it, just before or while the call was on its way.
                if kept.answers or not isinstance(error.__cause__, ConnectionError):
                    raise
        return self._talk(self._connect(), url, headers)

    def close(self) -> None:
        """Close what is idle, and from now on each connection after its call."""
        with self._lock:
            self._closed = True
            _close_all(self._idle)

    def _take(self) -> Connection | None:
        with self._lock:
            while self._idle:
                connection, since = self._idle.pop()
                if time.monotonic() - since < _IDLE and not _is_readable(connection):
                    return connection
                connection.close()
        return None

    def _keep(self, connection: Connection) -> None:
        with self._lock:
            if connection.sock is None or self._closed or len(self._idle) >= _MOST_IDLE:
                connection.close()
            else:
                self._idle.append((connection, time.monotonic()))

    def _connect(self) -> Connection:
        proxy = proxy_for(self._proxy, self._service, "http")
        if self._service.secure and self._ssl is None:
            self._ssl = tls.create_default_context()  # reading the certificates takes its time
        connection = Connection(self._service, proxy, self._ssl, self._connect_timeout)
        address = connection.address
        try:
            connection.connect()
        except OSError as error:
            raise EndedError(self._explain(error, address)) from error
        except http.client.HTTPException as error:
            raise EndedError(Ending(f"{address} cannot be reached: {error}")) from error
        return connection

    def _explain(self, error: OSError, address: str) -> Ending:
        if isinstance(error, TimeoutError):
            return Ending(
                f"{address} cannot be reached in {self._connect_timeout:g} s", unclear=True
            )
        if isinstance(error, ProxyStatusError):
            text = f"{address} cannot be reached: {error}"
            return Ending(text, verdict.of_proxy(error.status), early=True)
        ending = of_network(error, address)
        if ending.error is None:
            reason = f"{address} cannot be reached: {ending.reason}"
            return msgspec.structs.replace(ending, reason=reason)
        return ending

    def _talk(self, connection: Connection, url: str, headers: Mapping[str, str]) -> Answer:
        address = connection.address
        try:
            answer = connection.get(url, headers, time.monotonic() + self._read_timeout)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            text = f"{address} broke off: {error!r}"
            if isinstance(error, TimeoutError):
                text = f"{address} did not answer within {self._read_timeout:g} s"
            raise EndedError(Ending(text, unclear=not connection.answers)) from error
        except BaseException:
            connection.close()
            raise
        self._keep(connection)
        self.reached |= answer.status == 200
        return answer


def _is_readable(connection: Connection) -> bool:
    # Nothing is due on an idle connection, so it is the end.
    with selectors.DefaultSelector() as selector:
        selector.register(connection.sock, selectors.EVENT_READ)
        return bool(selector.select(0))


def _close_all(idle: list[tuple[Connection, float]]) -> None:
    while idle:
        idle.pop()[0].close()
