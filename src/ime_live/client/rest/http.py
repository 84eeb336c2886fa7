"""HTTP connections for GET calls with the standard library, directly or through a proxy.

They block, so they are used in threads. Redirects are not followed: a token is sent to the
program's address only.
"""

from __future__ import annotations

import http.client
import socket
import ssl as tls
from collections.abc import Mapping
from importlib import import_module
from typing import Final
from urllib.parse import urlsplit

from ime_live.client.network.proxy import ProxyServer, read_proxy, through
from ime_live.client.protocol.address import Service
from ime_live.client.protocol.close_reason import CloseReason
from ime_live.client.rest.response import Response
from ime_live.clock import SYSTEM_CLOCK

_MAX_ANSWER: Final = 64 * 1024 * 1024  # bytes of an answer; all contracts together have about 2 MB
_CHUNK: Final = 65_536


class CallError(Exception):
    """A call got no answer.

    Attributes:
        reason: why there was no answer.
    """

    def __init__(self, reason: CloseReason) -> None:
        self.reason = reason
        super().__init__(reason.text)


class ProxyStatusError(OSError):
    """A proxy refused to connect.

    Attributes:
        status: HTTP status of its answer.
    """

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"the proxy refused with HTTP {status}")


class HttpConnection(http.client.HTTPConnection):
    """A connection to a service, directly or through a proxy.

    Attributes:
        address: address of the service and of the proxy, for messages.
        answers: whether an answer has begun to arrive.
    """

    def __init__(
        self,
        service: Service,
        proxy: str | None,
        context: tls.SSLContext | None,
        timeout: float,
    ) -> None:
        """Create a connection without connecting.

        Args:
            service: address of the service.
            proxy: URL of the proxy; None for a direct connection.
            context: TLS settings, if the service speaks TLS.
            timeout: seconds for each step of connecting.
        """
        super().__init__(service.host, service.port, timeout=timeout)
        self.default_port = 443 if service.secure else 80
        self.address = service.named("http") + through(proxy)
        self.answers = False
        self._proxy = None if proxy is None else read_proxy(proxy)
        self._context = context if service.secure else None

    @property
    def _is_forwarded(self) -> bool:
        # A proxy for HTTP reads a plain call itself (RFC 9112, 3.2.2).
        return (
            self._proxy is not None
            and self._context is None
            and not self._proxy.scheme.startswith("socks")
        )

    def connect(self) -> None:
        """Connect, including TLS and the proxy.

        Raises:
            ProxyStatusError, OSError, HTTPException: the connection failed.
            CallError: this kind of proxy cannot be used.
            ImportError: the package for SOCKS proxies is missing.
        """
        sock = self._dial()
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_hostname=self.host)
        except BaseException:
            sock.close()
            raise
        self.sock = sock

    def _dial(self) -> socket.socket:
        proxy = self._proxy
        if proxy is None:
            return socket.create_connection((self.host, self.port), self.timeout)
        if proxy.scheme.startswith("socks"):
            return self._dial_by_socks(proxy)
        if proxy.scheme == "https" and self._context is not None:
            raise CallError(
                CloseReason.final(
                    "the proxy for REST calls over TLS must begin with http://, got https://"
                )
            )
        sock = socket.create_connection((proxy.host, proxy.port), self.timeout)
        try:
            if proxy.scheme == "https":
                context = tls.create_default_context()
                sock = context.wrap_socket(sock, server_hostname=proxy.host)
            if self._context is not None:
                self._tunnel_through(sock, proxy)
        except BaseException:
            sock.close()
            raise
        return sock

    def _tunnel_through(self, sock: socket.socket, proxy: ProxyServer) -> None:
        host = f"[{self.host}]" if ":" in self.host else self.host.encode("idna").decode()
        lines = [f"CONNECT {host}:{self.port} HTTP/1.1", f"Host: {host}:{self.port}"]
        lines += [f"{name}: {value}" for name, value in proxy.authorization.items()]
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        with http.client.HTTPResponse(sock, method="CONNECT") as response:
            response.begin()
            if not 200 <= response.status < 300:
                raise ProxyStatusError(response.status)

    def _dial_by_socks(self, proxy: ProxyServer) -> socket.socket:
        try:
            library, plain = import_module("python_socks"), import_module("python_socks.sync")
        except ImportError:
            text = (
                "a SOCKS proxy cannot be used without more packages (python_socks is missing): "
                'pip install "ime-live[socks]"'
            )
            raise ImportError(text, name="python_socks") from None
        kind = library.ProxyType.SOCKS4 if "4" in proxy.scheme else library.ProxyType.SOCKS5
        # Either the proxy or the client looks the name up.
        by_proxy = proxy.scheme in {"socks5h", "socks4a"}
        way = plain.Proxy(
            kind, proxy.host, proxy.port, proxy.username or None, proxy.password or None, by_proxy
        )
        try:
            sock: socket.socket = way.connect(self.host, self.port, timeout=self.timeout)
        except library.ProxyError as error:
            raise OSError(f"the SOCKS proxy refused: {error}") from error
        return sock

    def get(self, url: str, headers: Mapping[str, str], deadline: float) -> Response:
        """Make a call.

        Args:
            url: URL of the call.
            headers: headers to send.
            deadline: end of the call on the monotonic clock.

        Raises:
            TimeoutError, OSError, HTTPException: there was no answer.
            CallError: the answer is too large.
        """
        self.answers = False
        parts = urlsplit(url)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        headers = {"Accept": "application/json", **headers}
        if self._is_forwarded and self._proxy is not None:
            target = f"http://{parts.netloc}{target}"
            headers |= self._proxy.authorization
        self._limit(deadline)
        self.request("GET", target, headers=headers)
        self._limit(deadline)
        response = self.getresponse()
        self.answers = True
        pieces: list[bytes] = []
        size = 0
        # In pieces: the socket's timeout is for one read, and a server that sends byte by byte
        # would never exceed it.
        while True:
            self._limit(deadline)
            piece = response.read1(_CHUNK)
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
            if size > _MAX_ANSWER:
                raise CallError(
                    CloseReason.final(f"the answer must be at most {_MAX_ANSWER} bytes, got more")
                )
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
        response.close()  # `read1` leaves an answer with a length open; the next call would fail
        location, retry_after = response.getheader("Location"), response.getheader("Retry-After")
        return Response(response.status, b"".join(pieces), location, retry_after)

    def _limit(self, deadline: float) -> None:
        remaining = deadline - SYSTEM_CLOCK.monotonic()
        if remaining <= 0:
            raise TimeoutError
        if self.sock is not None:  # None once the last byte was read
            self.sock.settimeout(remaining)
