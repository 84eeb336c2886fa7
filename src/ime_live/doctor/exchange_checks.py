"""Exchange checks: compare the exchange's SignalR hub with the expectations of the feed."""

from __future__ import annotations

import asyncio
import platform
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import urlsplit

from ime_live.clock import SYSTEM_CLOCK
from ime_live.doctor.check import Check, Finding, failed, ok, warning
from ime_live.errors import FeedError
from ime_live.feeds.boards.field_map import BOARDS, METHODS, OTHER_METHODS, FieldMap
from ime_live.feeds.boards.frame_reader import FrameReader
from ime_live.feeds.boards.invocations import Invocation, read_invocations
from ime_live.feeds.boards.price_limits import read_boards
from ime_live.feeds.boards.row_cache import decode
from ime_live.feeds.boards.wrapping import rows_in
from ime_live.feeds.ime.access import read_access
from ime_live.feeds.ime.addresses import Address
from ime_live.feeds.ime.connection import ConnectionContext, SignalRConnection
from ime_live.feeds.ime.negotiation import negotiate
from ime_live.feeds.ime.signalr import Negotiation, read_transports
from ime_live.settings import SignalRHubSettings
from ime_live.spelling import pluralize
from ime_live.timezones import zone_of_tehran

LISTEN: Final = 20.0
"""Seconds for which boards are waited for: the exchange pushes all of them within a few."""

_SKEW: Final = 2.0  # seconds; the Date of an answer has whole ones
_LATE: Final = 60.0  # seconds
_AWAY: Final = (
    "the exchange only answers requests from Iran: run this there, or through --proxy; "
    "--base-url is its address"
)
_REPORT: Final = "send the report to the developers: the exchange may have changed something"
_MAX_NAMED: Final = 8


class CheckedExchange:
    """The settings and results of the checks of the exchange.

    Attributes:
        negotiation: answer of the SignalR hub; None before it.
        transports: by transport, ``"ok"`` or why it does not work.
        frames: what was received.
        columns: by method of a board, the columns of its rows and the types of their values.
        ahead: seconds by which the exchange's clock is ahead of this machine's.
    """

    def __init__(self, settings: SignalRHubSettings, *, listen: float = LISTEN) -> None:
        """Check the settings; nothing is connected.

        Raises:
            SettingsError: they cannot be used.
        """
        self.settings = settings
        self.listen = listen
        self.boards = read_boards(settings.boards)
        self.names = read_transports(settings.transports)
        self.address = Address(settings.base_url)
        self.access = read_access(settings, settings.base_url)
        self.negotiation: Negotiation | None = None
        self.transports: dict[str, str] = {}
        self.frames: list[bytes] = []
        self.columns: dict[str, dict[str, str]] = {}
        self.unknown: list[str] = []
        self.ahead: float | None = None
        self.findings: list[Finding] = []

    async def connect(self, client: Any) -> SignalRConnection:  # noqa: ANN401 - of httpx
        """Negotiate a connection.

        Raises:
            FeedError: there is none; the text says why.
        """
        context = ConnectionContext(
            self.address,
            self.access,
            client,
            clock=SYSTEM_CLOCK,
            random=random.random,
            on_date=self._on_date,
        )
        connection = await negotiate(context)
        self.negotiation = connection.negotiation
        return connection

    def _on_date(self, date: float, sent: float, received: float) -> None:
        # The Date has whole seconds, so it is behind by half a second on average.
        self.ahead = date + 0.5 - (sent + received) / 2

    def report(self) -> dict[str, object]:
        """Return the results for the developers, without tokens, cookies, addresses and proxies."""
        negotiation = self.negotiation
        return {
            "ime-live": version("ime-live"),
            "python": platform.python_version(),
            "system": platform.system(),
            "written": SYSTEM_CLOCK.local(zone_of_tehran()).isoformat(timespec="seconds"),
            "host": urlsplit(self.settings.base_url).hostname,
            "negotiation": None
            if negotiation is None
            else {
                "ProtocolVersion": negotiation.protocol_version,
                "TryWebSockets": negotiation.try_web_sockets,
                "KeepAliveTimeout": negotiation.keep_alive_timeout,
                "DisconnectTimeout": negotiation.disconnect_timeout,
                "ConnectionTimeout": negotiation.connection_timeout,
                "TransportConnectTimeout": negotiation.transport_connect_timeout,
                "LongPollDelay": negotiation.long_poll_delay,
                "redirects": bool(negotiation.redirect_url),
            },
            "transports": self.transports,
            "clockAhead": self.ahead,
            "boards": self.columns,
            "unknownMethods": self.unknown,
            "findings": [
                {"check": finding.check, "level": finding.level, "text": finding.text}
                for finding in self.findings
            ],
        }


async def hub(context: CheckedExchange) -> list[Finding]:
    """Can the SignalR hub be reached, and is it one?"""
    async with context.access.client() as client:
        try:
            await context.connect(client)
        except FeedError as error:
            return [failed(f"{context.address.host}: {error}", _AWAY)]
    negotiation = context.negotiation
    protocol = "" if negotiation is None else negotiation.protocol_version
    findings = [ok(f"{context.address.host} speaks SignalR {protocol}")]
    if protocol and not protocol.startswith(("1.", "2.")):
        findings.append(warning(f"protocol {protocol} is not known", _REPORT))
    return findings


async def transports(context: CheckedExchange) -> list[Finding]:
    """Does each transport work? Later checks use the first one that does."""
    findings = []
    for name in context.names:
        async with context.access.client() as client:
            connection: SignalRConnection | None = None
            try:
                connection = await context.connect(client)
                await connection.begin(name)
                context.transports[name.value] = "ok"
                findings.append(ok(f"{name.value} works"))
                if not context.frames:
                    await _listen(context, connection)
            except FeedError as error:
                context.transports[name.value] = str(error)
                findings.append(warning(f"{name.value}: {error}", "does a proxy block it?"))
            finally:
                if connection is not None:
                    await connection.end()
    if "ok" not in context.transports.values():
        findings.append(failed("no transport works, so the feed would poll", _REPORT))
    return findings


async def _listen(context: CheckedExchange, connection: SignalRConnection) -> None:
    """Receive until all boards have arrived, or for `CheckedExchange.listen` seconds."""
    missing = set(context.boards)
    with suppress(TimeoutError):
        async with asyncio.timeout(context.listen):
            while missing:
                frame = await connection.receive()
                context.frames.append(frame)
                missing -= {method for method, _ in _pushes(frame)}


def _pushes(frame: bytes) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """Iterate over the boards in a frame with their rows."""
    for call in read_invocations(frame):
        if isinstance(call, Invocation) and call.problem is None:
            method = METHODS.get(call.method.lower(), call.method)
            rows: list[Mapping[str, Any]] = []
            if method in BOARDS:
                ids = [fields.contract_id for side in BOARDS[method] for fields in side]
                for argument in call.arguments:
                    argument_rows = rows_in(decode(argument), ids)
                    rows += [row for row in argument_rows if isinstance(row, Mapping)]
            yield method, rows


async def boards(context: CheckedExchange) -> list[Finding]:
    """Do all boards arrive, with all fields that the feed reads?"""
    row_counts: dict[str, int] = {}
    for frame in context.frames:
        for method, rows in _pushes(frame):
            row_counts[method] = max(row_counts.get(method, 0), len(rows))
            if method in BOARDS:
                columns = context.columns.setdefault(method, {})
                for row in rows:
                    columns |= {name: type(value).__name__ for name, value in row.items()}
    context.unknown = sorted(set(row_counts) - set(BOARDS) - OTHER_METHODS)
    findings = []
    for method in sorted(context.boards - set(row_counts)):
        text = f"{method} has not arrived within {context.listen:g} s"
        findings.append(warning(text, "outside of the sessions that is usual; else try again"))
    for method in sorted(context.columns):
        missing = sorted(_missing(method, context.columns[method])) if row_counts[method] else []
        if missing:
            findings.append(failed(f"{method} lacks the fields {_named(missing)}", _REPORT))
        else:
            findings.append(
                ok(f"{method}: {pluralize(row_counts[method], 'row')}, all fields are there")
            )
    if context.unknown:
        findings.append(warning(f"unknown boards: {_named(context.unknown)}", _REPORT))
    return findings or [warning("no board arrived", "try again in a session")]


def _missing(method: str, columns: Mapping[str, str]) -> set[str]:
    """Return the fields that the feed reads and no row has."""
    missing: set[str] = set()
    for spellings in BOARDS[method]:
        # Of several spellings, the one with the fewest missing fields is meant.
        missing |= min((_names(spelling) - columns.keys() for spelling in spellings), key=len)
    return missing


def _names(board: FieldMap) -> set[str]:
    """Return the fields of a row that a state needs; static fields may be missing."""
    names: set[str] = set()
    for attribute in fields(board):
        if attribute.name in ("market", "static", "option_type", "twelve_hours"):
            continue
        value = getattr(board, attribute.name)
        if isinstance(value, str):
            names.add(value)
        elif attribute.name == "levels":
            names |= {name for level in value for name in level}
        elif attribute.name == "closing":
            names |= set(value)
    return names


def _named(names: Sequence[str]) -> str:
    more = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


async def rows(context: CheckedExchange) -> list[Finding]:
    """Can all rows be read?"""
    reader = FrameReader(boards=context.boards)
    latest = SYSTEM_CLOCK.local(zone_of_tehran()).replace(tzinfo=None)
    good, errors, newest = 0, [], None
    for frame in context.frames:
        content = reader.read(frame, latest=latest)
        good += len(content.quotes)
        errors += [*content.errors, *content.lost]
        if content.clock is not None:
            newest = content.clock if newest is None else max(newest, content.clock)
    if not good and not errors:
        return [warning("there were no rows to read", "try again in a session")]
    findings = [ok(f"{pluralize(good, 'state')} read")] if good else []
    if errors:
        text = f"{pluralize(len(errors), 'row')} or fields cannot be read, as {errors[0]}"
        findings.append(failed(text[:300], _REPORT))
    if newest is not None:
        lag = (latest - newest).total_seconds()
        text = f"the newest timestamp is {lag:.0f} s old"
        late = "outside of the sessions that is usual; else the exchange, or the clock, is late"
        findings.append(warning(text, late) if abs(lag) > _LATE else ok(text))
    return findings


async def clock(context: CheckedExchange) -> list[Finding]:
    """Do the exchange's clock and this machine's agree?"""
    if context.ahead is None:
        return [warning("the exchange sends no time")]
    text = f"the exchange's clock differs from this machine's by {context.ahead:+.1f} s"
    if abs(context.ahead) > _SKEW:
        return [warning(text, "synchronise this machine's, as by chrony")]
    return [ok(text)]


EXCHANGE_CHECKS: Final[Sequence[Check[CheckedExchange]]] = (
    Check("hub", hub, timeout=30),
    Check("transports", transports, needs="hub", timeout=120),
    Check("boards", boards, needs="transports"),
    Check("rows", rows, needs="transports"),
    Check("exchange clock", clock, needs="hub"),
)
"""The checks of the exchange's SignalR hub."""
