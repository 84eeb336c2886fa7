"""Gateway checks: a running gateway, as clients see it from outside."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from ime_live.client.connecting import connect
from ime_live.client.network.credentials import Credentials
from ime_live.client.options import credentials_of
from ime_live.client.protocol.address import Service, read_service, stream_path
from ime_live.client.protocol.message import ConnectionEvent
from ime_live.client.rest.async_client import AsyncClient
from ime_live.clock import SYSTEM_CLOCK
from ime_live.contracts import Market
from ime_live.doctor.check import Check, Finding, failed, ok, warning
from ime_live.errors import (
    AuthenticationError,
    ImeLiveError,
    RefusedError,
    ServiceError,
    UnknownContractError,
)

_WAIT: Final = 6.0
"""Seconds to wait for an answer that normally arrives at once."""

_REFUSAL: Final = 1.0  # seconds within which a refusal follows the handshake

_SOON: Final = 21  # days; certificates are renewed 30 days before their end as a rule
_SKEW: Final = 2.0  # seconds; the Date of an answer has whole ones

_UPGRADE: Final = (
    "let the proxy pass WebSockets on: proxy_http_version 1.1; proxy_set_header Upgrade "
    "$http_upgrade; proxy_set_header Connection upgrade; see docs/operations.md"
)
_PREFIX: Final = "does the proxy pass on /live/ and /static/, with the path prefix?"
_BUFFERING: Final = "switch buffering off for /live/: proxy_buffering off; see docs/operations.md"


class CheckedGateway:
    """The address and connections of the checks of a gateway.

    Attributes:
        service: address of the gateway.
        token: sent with each call; None for none.
        contract: name of a contract, once a call has found one.
    """

    def __init__(self, url: str, token: str | None) -> None:
        """Read the address.

        Raises:
            SettingsError: it is not the address of a service, or the token cannot be one.
        """
        self.url = url
        self.service: Service = read_service(url)
        self.token = token
        self.credentials: Credentials = credentials_of(token)
        self.contract: str | None = None

    async def get(self, path: str, *, timeout: float = _WAIT) -> httpx.Response:  # noqa: ASYNC109
        """Make a call, without a token.

        Raises:
            ServiceError: the gateway does not answer.
        """
        url = self.service.call(path, ())
        try:
            async with httpx.AsyncClient(timeout=timeout) as client:
                return await client.get(url)
        except httpx.HTTPError as error:
            raise ServiceError(f"{self.service.place}: {_describe(error)}") from error


def _describe(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return str(error) or type(error).__name__


async def reach(context: CheckedGateway) -> list[Finding]:
    """Does anything answer at the address?"""
    host, number = _host_and_port(context.service)
    began = SYSTEM_CLOCK.monotonic()
    try:
        async with asyncio.timeout(_WAIT):
            _, writer = await asyncio.open_connection(host, number)
    except TimeoutError:
        return [failed(f"{host} port {number} does not answer", "is a firewall in between?")]
    except OSError as error:
        code = error.errno or 0  # below 0 for names that cannot be found
        # The reason that asyncio gives has the address as well.
        reason = os.strerror(code).lower() if code > 0 else _describe(error)
        return [failed(f"{host} port {number}: {reason}", "check the address, and that it runs")]
    writer.transport.abort()
    return [
        ok(f"{host} port {number} answers in {(SYSTEM_CLOCK.monotonic() - began) * 1000:.0f} ms")
    ]


async def tls(context: CheckedGateway) -> list[Finding]:
    """Is the certificate trusted, and for how long?"""
    if not context.service.secure:
        host, _ = _host_and_port(context.service)
        if host in ("localhost", "::1") or host.startswith("127."):
            return [ok("none, on this machine")]
        return [warning("none: tokens can be read on their way", "let a proxy speak TLS")]
    host, number = _host_and_port(context.service)
    try:
        _, writer = await asyncio.open_connection(host, number, ssl=ssl.create_default_context())
    except ssl.SSLCertVerificationError as error:
        return [
            failed(
                f"the certificate is not trusted: {error.verify_message}",
                "send the whole chain, for this name; SSL_CERT_FILE names a CA of your own",
            )
        ]
    except (ssl.SSLError, ConnectionResetError) as error:
        return [
            failed(f"no TLS there: {_describe(error)}", "begin the address with ws:// or http://")
        ]
    session = writer.get_extra_info("ssl_object")
    ends = ssl.cert_time_to_seconds(session.getpeercert()["notAfter"])
    writer.transport.abort()
    days = (ends - SYSTEM_CLOCK.time()) / 86_400
    text = f"{session.version()}, certificate trusted for {days:.0f} more days"
    return [warning(text, "renew it") if days < _SOON else ok(text)]


async def ready(context: CheckedGateway) -> list[Finding]:
    """Is it a gateway, and ready?"""
    answer = await context.get("/ready")
    findings = []
    with suppress(KeyError, ValueError, TypeError):
        at = parsedate_to_datetime(answer.headers["date"]).timestamp()
        if abs(ahead := at - SYSTEM_CLOCK.time()) > _SKEW:
            findings.append(
                warning(
                    f"its clock differs from this machine's by {ahead:+.0f} s",
                    "synchronise both, as by chrony",
                )
            )
    report = _decode_object(answer)
    if "ready" not in report:
        return [
            *findings,
            warning(
                f"/ready was answered with {answer.status_code}, not by a gateway",
                "fine if the proxy passes on /live/ and /static/ only; else check the path prefix",
            ),
        ]
    if not report["ready"]:
        return [*findings, failed(f"not ready: {report.get('reason')}", "see the gateway's log")]
    text = f"ready, {report.get('contracts')} contracts, {report.get('connections')} streams"
    feed = report.get("feed")
    if feed in ("down", "stale"):
        findings.append(warning(f"the feed is {feed}", "see ime-live doctor on its machine"))
    return [ok(f"{text}, feed {feed or 'none'}"), *findings]


def _decode_object(answer: httpx.Response) -> dict[str, object]:
    try:
        decoded = answer.json()
    except ValueError:
        return {}
    return decoded if isinstance(decoded, dict) else {}


async def rest(context: CheckedGateway) -> list[Finding]:
    """Is the token accepted, and are calls answered?"""
    async with AsyncClient(context.url, token=context.token, tries=1) as client:
        try:
            for market in Market:
                if contracts := await client.search(market, ""):
                    context.contract = contracts[0].contract_name
                    break
            if context.contract is None:
                return [warning("answered, but no market has a contract", "is a feed running?")]
            await client.snapshot([context.contract])
        except AuthenticationError as error:
            problem = "the token is refused" if context.token else "a token is asked for"
            return [
                failed(
                    f"{problem}: {error}",
                    "give one by --token or IME_LIVE_TOKEN; see why: ime-live token inspect TOKEN",
                )
            ]
        except (RefusedError, ServiceError) as error:
            return [failed(str(error), _PREFIX)]
    return [ok(f"answered, as for {context.contract}")]


async def websocket(context: CheckedGateway) -> list[Finding]:
    """Can a WebSocket connect?"""
    connected: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def note(event: ConnectionEvent) -> None:
        if not connected.done():
            connected.set_result("" if event.connected else event.reason)

    names = [context.contract or "*"]
    async with connect(
        context.url, names, token=context.token, on_connection=note, open_timeout=_WAIT
    ) as stream:
        reading = asyncio.ensure_future(anext(stream))
        try:
            either: set[asyncio.Future[Any]] = {reading, connected}
            await asyncio.wait(either, timeout=_WAIT, return_when=asyncio.FIRST_COMPLETED)
            # A refusal follows the handshake, as only then a client sees its reason.
            await asyncio.wait({reading}, timeout=_REFUSAL)
            error = reading.exception() if reading.done() else None
            reason = connected.result() if connected.done() else f"no answer within {_WAIT:g} s"
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
    if isinstance(error, AuthenticationError):
        return [failed(f"connected, but refused: {error}", "give a token by --token")]
    if isinstance(error, UnknownContractError | RefusedError):
        return [ok(f"connected; answered: {error}")]
    if reason or isinstance(error, ImeLiveError):
        text = str(error or reason)
        # Where nothing is found, the proxy's headers are not the cause.
        return [failed(text, _PREFIX if "HTTP 404" in text else _UPGRADE)]
    return [ok("connected")]


async def events(context: CheckedGateway) -> list[Finding]:
    """Do server-sent events arrive at once, or does a proxy buffer them?"""
    path = stream_path("name").replace("websocket", "sse")
    url = context.service.call(path, [("contract_names", context.contract or "*")])
    headers = await context.credentials.headers()
    try:
        async with (
            httpx.AsyncClient(timeout=_WAIT, headers=headers) as client,
            client.stream("GET", url) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                return [failed(f"answered with {answer.status_code}", "see REST and the token")]
            async with asyncio.timeout(_WAIT):
                # The gateway begins each stream with the time after which to reconnect.
                async for _ in answer.aiter_raw():
                    return [ok("they arrive at once")]
            return [failed("the stream ended at once", _BUFFERING)]
    except (httpx.ReadTimeout, TimeoutError):
        return [failed(f"nothing arrived within {_WAIT:g} s: a proxy buffers them", _BUFFERING)]
    except httpx.HTTPError as error:
        return [failed(_describe(error), "does the proxy pass on /live/?")]


async def host_header(context: CheckedGateway) -> list[Finding]:
    """Does the gateway see the host that clients ask for?"""
    answer = await context.get("/asyncapi.json")
    servers = _decode_object(answer).get("servers")
    if answer.status_code != httpx.codes.OK or not isinstance(servers, dict):
        return [ok("not known: the API documents are not served")]
    hosts = {str(server.get("host")) for server in servers.values() if isinstance(server, dict)}
    place = context.service.place
    if place in hosts:
        return [ok(f"the API documents name {place}")]
    return [
        warning(
            f"the API documents name {', '.join(sorted(hosts))}, and not {place}",
            "proxy_set_header Host $http_host; or start the gateway with --public-url",
        )
    ]


def _host_and_port(service: Service) -> tuple[str, int]:
    parts = urlsplit(f"//{service.place}")
    return parts.hostname or "", parts.port or (443 if service.secure else 80)


GATEWAY_CHECKS: Final[Sequence[Check[CheckedGateway]]] = (
    Check("address", reach),
    Check("tls", tls, needs="address"),
    Check("ready", ready, needs="tls"),
    Check("rest", rest, needs="tls"),
    Check("websocket", websocket, needs="tls"),
    Check("events", events, needs="tls"),
    Check("host", host_header, needs="tls"),
)
"""The checks of a running gateway."""
