"""Connection pool of the REST calls.

A new connection costs more than a call, above all with TLS. Several threads may call at the same
time; each call has its own connection.
"""

from __future__ import annotations

import http.client
import selectors
import ssl as tls
import threading
import weakref
from collections.abc import Mapping
from typing import Final

import msgspec

from ime_live.client.network.faults import reason_of_os_error
from ime_live.client.network.proxy import Proxy, proxy_for
from ime_live.client.protocol.address import Service
from ime_live.client.protocol.close_reason import CloseReason, error_of_proxy
from ime_live.client.rest.http import CallError, HttpConnection, ProxyStatusError
from ime_live.client.rest.response import Response
from ime_live.clock import SYSTEM_CLOCK

_MAX_IDLE: Final = 10
_IDLE_TIMEOUT: Final = 60.0  # seconds; routers drop idle connections after some minutes


class ConnectionPool:
    """Connections to one service: one per running call, and some idle ones.

    The idle ones are closed when this object is garbage collected.

    Attributes:
        reached: whether the service has answered a call with HTTP 200.
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
        """Create a pool without connections.

        Args:
            service: address of the service.
            ssl: TLS settings; None trusts the system's certificates.
            proxy: URL of a proxy; True reads it from the environment, None uses none.
            connect_timeout: seconds for connecting, including TLS and the proxy.
            read_timeout: seconds for the request and the whole answer.
        """
        self._service = service
        self._ssl = ssl
        self._proxy = proxy
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self.reached = False
        self._lock = threading.Lock()
        self._idle: list[tuple[HttpConnection, float]] = []
        self._closed = False
        weakref.finalize(self, _close_all, self._idle)

    def get(self, url: str, headers: Mapping[str, str]) -> Response:
        """Make a GET call and return the answer.

        Args:
            url: URL of the call.
            headers: headers to send.

        Raises:
            CallError: there was no answer, or it was too large.
            ServiceError: the proxy of the environment cannot be used.
            ImportError: the package for SOCKS proxies is missing.
        """
        while (connection := self._take_idle()) is not None:
            try:
                return self._call(connection, url, headers)
            except CallError as error:
                # The service closed the idle connection, before or during the call.
                if connection.answers or not isinstance(error.__cause__, ConnectionError):
                    raise
        return self._call(self._connect(), url, headers)

    def close(self) -> None:
        """Close the idle connections, and from now on each connection after its call."""
        with self._lock:
            self._closed = True
            _close_all(self._idle)

    def _take_idle(self) -> HttpConnection | None:
        with self._lock:
            while self._idle:
                connection, since = self._idle.pop()
                expired = SYSTEM_CLOCK.monotonic() - since >= _IDLE_TIMEOUT
                if not expired and not _is_readable(connection):
                    return connection
                connection.close()
        return None

    def _give_back(self, connection: HttpConnection) -> None:
        with self._lock:
            if connection.sock is None or self._closed or len(self._idle) >= _MAX_IDLE:
                connection.close()
            else:
                self._idle.append((connection, SYSTEM_CLOCK.monotonic()))

    def _connect(self) -> HttpConnection:
        proxy = proxy_for(self._proxy, self._service, "http")
        if self._service.secure and self._ssl is None:
            self._ssl = tls.create_default_context()  # slow: it reads the certificates
        connection = HttpConnection(self._service, proxy, self._ssl, self._connect_timeout)
        address = connection.address
        try:
            connection.connect()
        except OSError as error:
            raise CallError(self._explain(error, address)) from error
        except http.client.HTTPException as error:
            raise CallError(CloseReason(f"{address} cannot be reached: {error}")) from error
        return connection

    def _explain(self, error: OSError, address: str) -> CloseReason:
        if isinstance(error, TimeoutError):
            return CloseReason(
                f"{address} cannot be reached in {self._connect_timeout:g} s", unclear=True
            )
        if isinstance(error, ProxyStatusError):
            text = f"{address} cannot be reached: {error}"
            return CloseReason(text, error_of_proxy(error.status), early=True)
        reason = reason_of_os_error(error, address)
        if reason.error is None:
            text = f"{address} cannot be reached: {reason.text}"
            return msgspec.structs.replace(reason, text=text)
        return reason

    def _call(self, connection: HttpConnection, url: str, headers: Mapping[str, str]) -> Response:
        address = connection.address
        try:
            answer = connection.get(url, headers, SYSTEM_CLOCK.monotonic() + self._read_timeout)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            text = f"{address} must answer, but closed the connection: {error!r}"
            if isinstance(error, TimeoutError):
                text = f"{address} must answer within {self._read_timeout:g} s, got no answer"
            raise CallError(CloseReason(text, unclear=not connection.answers)) from error
        except BaseException:
            connection.close()
            raise
        self._give_back(connection)
        self.reached |= answer.status == 200
        return answer


def _is_readable(connection: HttpConnection) -> bool:
    # An idle connection is readable only if the service has closed it.
    with selectors.DefaultSelector() as selector:
        selector.register(connection.sock, selectors.EVENT_READ)
        return bool(selector.select(0))


def _close_all(idle: list[tuple[HttpConnection, float]]) -> None:
    while idle:
        idle.pop()[0].close()
