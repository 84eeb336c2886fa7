"""Caller: make REST calls with a token over pooled connections, and repeat failed calls."""

from __future__ import annotations

import asyncio
import random
import ssl as tls
from collections.abc import Iterable
from typing import Any, Final

from ime_live.backoff import Backoff
from ime_live.client.network.credentials import Token
from ime_live.client.network.proxy import Proxy, check_proxy
from ime_live.client.options import check_ssl, credentials_of, service_of
from ime_live.client.protocol.close_reason import (
    CloseReason,
    advice,
    error_of_proxy,
    is_of_address,
    is_temporary,
)
from ime_live.client.rest.http import CallError
from ime_live.client.rest.pool import ConnectionPool
from ime_live.client.rest.response import Response
from ime_live.errors import AuthenticationError, ImeLiveError, ServiceError
from ime_live.settings.rule import COUNT, POSITIVE

_TRANSIENT: Final = frozenset({429, 502, 503, 504})
CLIENT_CLOSED: Final = "the client cannot make calls: it was closed"
"""Text of the error for calls of a client that was closed."""

_MAX_WAIT: Final = 5.0  # seconds between two tries; the program waits for the answer


class Caller:
    """Makes calls to one service. The arguments are those of `AsyncClient`."""

    def __init__(
        self,
        url: str | None,
        *,
        token: Token,
        ssl: tls.SSLContext | None,
        proxy: Proxy,
        connect_timeout: float,
        read_timeout: float,
        tries: int,
    ) -> None:
        """Check the arguments; see `AsyncClient`. Nothing is connected yet."""
        POSITIVE.check("connect_timeout", connect_timeout)
        POSITIVE.check("read_timeout", read_timeout)
        COUNT.check("tries", tries)
        self._service = service_of(url)
        self._credentials = credentials_of(token)
        self._proxy = check_proxy(proxy)
        self._pool = ConnectionPool(
            self._service,
            ssl=check_ssl(ssl, self._service),
            proxy=self._proxy,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
        )
        self._connect_timeout = connect_timeout
        self._tries = tries
        self._closed = False

    @property
    def place(self) -> str:
        """Host and port of the service, for messages."""
        return self._service.place

    async def get(self, path: str, pairs: Iterable[tuple[str, str]]) -> Any:  # noqa: ANN401 - JSON
        """Make a call, and return the decoded ``Data`` of its response.

        Args:
            path: path of the call.
            pairs: names and values of its parameters.

        Raises:
            AuthenticationError: the token is missing or not accepted.
            ServiceError: the service cannot be reached, refuses the call, or its answer cannot be
                used; or the client was closed.
        """
        url = self._service.call(path, pairs)
        backoff = Backoff(_MAX_WAIT, random.random)
        renewed = False
        while True:
            if self._closed:
                raise ServiceError(CLIENT_CLOSED)
            headers = await self._credentials.headers()
            retry_after = 0.0
            try:
                response = await asyncio.to_thread(self._pool.get, url, headers)
            except CallError as failed:
                reason = await self._check_scheme(failed.reason)
                error = reason.fatal(reached=self._pool.reached)
                if error is not None:
                    raise error from failed
                error = ServiceError(reason.text)
            else:
                if response.status == 200:
                    self._credentials.note_accepted(headers)
                    return response.data
                error, retry_after = self._fault_of(response, path), response.wait
                if response.status == 401:
                    retry = self._credentials.note_refused(headers, response.detail)
                    # A new token is tried once per call: the token may be good for other calls.
                    if not retry or (renewed and not is_temporary(response.detail)):
                        raise error
                    if not renewed:
                        renewed = True
                        continue
                elif response.status not in _TRANSIENT:
                    unclear = CloseReason(str(error), error, unclear=response.status == 400)
                    raise (await self._check_scheme(unclear)).error or error
            wait = max(backoff.next(), retry_after)
            if backoff.failures >= self._tries or retry_after > _MAX_WAIT:
                raise error
            await asyncio.sleep(wait)

    async def _check_scheme(self, reason: CloseReason) -> CloseReason:
        if self._pool.reached:
            return reason
        # Importing the WebSocket library takes as long as all the rest; few programs need it.
        from ime_live.client.network.websocket import check_scheme

        return await check_scheme(
            self._service,
            self._proxy,
            reason,
            self._service.named("http"),
            open_timeout=self._connect_timeout,
        )

    def _fault_of(self, response: Response, path: str) -> ImeLiveError:
        if response.status == 401:
            return AuthenticationError(response.detail)
        if response.status == 407 and (error := error_of_proxy(response.status)) is not None:
            return error
        text = f"the service cannot answer this call: {response.detail}"
        if is_of_address(response.status):
            address = self._service.named("http", path)
            text = f"{address} must be a REST call, but is not: {response.detail}"
            text += advice(response.status, response.location)
            if response.status == 404:
                text += " A service of an older version may not have this call."
        return ServiceError(text, status=response.status)

    def close(self) -> None:
        """Close the connections. Running calls end; later ones raise `ServiceError`."""
        self._closed = True
        self._pool.close()
