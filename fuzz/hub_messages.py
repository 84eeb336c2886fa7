"""Targets: what the exchange's SignalR hub, or somebody in its place, sends to the feed."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterable, Sequence
from datetime import datetime
from random import Random
from typing import Final
from zlib import crc32

from fuzz.target import Target
from ime_live.contracts import Contract, check_contract, read_contract
from ime_live.errors import FeedError, PayloadError
from ime_live.feeds.boards.field_map import METHODS
from ime_live.feeds.boards.frame_reader import FrameReader
from ime_live.feeds.ime.events import EventParser
from ime_live.feeds.ime.signalr import MAX_SECONDS, read_envelope, read_negotiation, read_start
from ime_live.feeds.pipeline.ingest import Ingest
from ime_live.market import Payload
from ime_live.market_json import read_payload
from ime_live.publisher import PublishResult
from tests.support.paths import ROWS

_LATEST: Final = datetime(2026, 5, 23, 15, 10)  # noqa: DTZ001 - as boards, on Tehran's clock
_MAX_TEXT: Final = 2_000  # characters of an error, which is logged


class _Publisher:
    """Checks states as the publisher does, and keeps none."""

    async def publish_many(self, payloads: Iterable[tuple[str, Payload]]) -> list[PublishResult]:
        results = []
        for contract_id, payload in payloads:
            assert contract_id.isdigit()
            assert read_payload(payload.to_json()) == payload, "the publisher would refuse it"
            results.append(PublishResult(contract_id, version=1, published=True))
        return results


async def _register(contracts: Sequence[Contract]) -> Container[str] | None:
    for contract in contracts:
        check_contract(contract)
        assert read_contract(contract.to_json()) == contract, "the store would have another one"
    return None


def read_frames(data: bytes) -> None:
    """Read frames of one source, one per line, and ingest them."""
    reader, ingest = FrameReader(), Ingest(_Publisher(), _register)
    refused: FeedError | None = None
    for line in data.split(b"\n"):
        try:
            read_envelope(line)
            frame = reader.read(line, latest=_LATEST)
            # Without a cache it reads the same.
            again = FrameReader().read(line, latest=_LATEST)
        except FeedError as error:
            assert len(str(error)) < _MAX_TEXT
            refused = error
            continue
        assert len(again.quotes) + len(again.errors) == len(frame.quotes) + len(frame.errors)
        assert all(len(str(error)) < _MAX_TEXT for error in (*frame.errors, *frame.lost))
        for board in frame.boards:
            assert len(board.quotes) == len(board.pushed_at)
        assert len(str(ingest.note(frame, _LATEST))) < _MAX_TEXT
        asyncio.run(ingest.publish_changes())
    if refused is not None:
        raise refused


def read_answers(data: bytes) -> None:
    """Read the answers to calls; the input is a content type, a line feed and the body."""
    kind, _, body = data.partition(b"\n")
    content_type = kind.decode("latin-1")
    refused: list[FeedError] = []
    try:
        said = read_negotiation(body, content_type)
    except FeedError as error:
        refused.append(error)
    else:
        assert said.connection_token or said.redirect_url
        for seconds in (
            said.disconnect_timeout,
            said.transport_connect_timeout,
            said.connection_timeout,
            said.long_poll_delay,
            said.keep_alive_timeout or 0.0,
        ):
            assert 0 <= seconds <= MAX_SECONDS
    for read in (read_start, read_envelope):
        try:
            envelope = read(body, content_type)
        except FeedError as error:
            refused.append(error)
        else:
            delay = getattr(envelope, "delay", None)
            assert delay is None or 0 <= delay <= MAX_SECONDS
    _check_events(body)
    for text in map(str, refused):
        assert len(text) < _MAX_TEXT
        assert "\n" not in text
    if len(refused) == 3:  # it is none of the answers
        raise refused[0]


def _check_events(body: bytes) -> None:
    """Check that a stream of events is read the same in any pieces."""
    whole = EventParser().feed(body)
    parser, random, events, rest = EventParser(), Random(crc32(body)), [], body
    while rest:
        size = random.randint(1, 1 + len(rest) // 2)
        events += parser.feed(rest[:size])
        rest = rest[size:]
    assert events == whole


_ROWS: Final = tuple(b" ".join(path.read_bytes().split()) for path in sorted(ROWS.glob("*.json")))

TARGETS: Final = (
    Target(
        "hub-frames",
        "frames of the exchange's hub, until they are published (`feeds/boards`, `feeds/pipeline`)",
        read_frames,
        (FeedError, PayloadError),
        (
            b'{"C":"d-1,2","M":[{"H":"marketsHub","M":"',
            b'","A":[[',
            b"]]}]}",
            b"\n",
            *_ROWS,
            *(method.encode() for method in METHODS.values()),
            b'"LastUpdate":"2026-05-23T15:09:59.9",',
            b'"ContractID":77,',
            b'"/Date(1690882810500)/"',
            "یکشنبه ۱۷ بهمن ۱۴۰۰  -  ۱۳:۲۶:۰۵".encode(),
            "۸۳٬۶۰۰".encode(),
            b"1401/02/27",
            b"12:00:00",
            b"0001-01-01T00:00:00",
            b"9999-12-31T23:59:59.9999999",
            b'["',
            b'{"value":',
            b"2^53",
        ),
    ),
    Target(
        "hub-answers",
        "answers of the exchange's hub to SignalR's calls, and its events (`feeds/ime`)",
        read_answers,
        (FeedError,),
        (
            b"application/json\n",
            b"text/html\n",
            b"\n",
            b'{"ConnectionToken":"t"',
            b"data: initialized\n\n",
            b'"KeepAliveTimeout":20.0',
            b'"DisconnectTimeout":1e999',
            b'"RedirectUrl":"http://h"',
            b'"L":',
            b'"Error":"no"',
            b'{"Response":"started"}',
            b"<html><title>",
            b"</title>",
            b"<!--",
            b"<script>",
            b'{"C":"d","S":1,"M":[],"T":1,"D":1,"G":"g"}',
            b"data:",
            b"\r\n",
            b"\n\n",
            b",",
            b'"Url":"/x"',
        ),
    ),
)
