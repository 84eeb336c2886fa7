"""Targets: what a service, or somebody in its place, sends to the client library."""

from __future__ import annotations

import copy
import pickle
from contextlib import suppress
from typing import Final

from fuzz.target import Target
from ime_live.client.protocol.close_reason import error_of_close, error_of_status, is_temporary
from ime_live.client.protocol.message import Message, Reader, Status
from ime_live.client.protocol.resume_point import ResumePoint
from ime_live.client.rest.response import (
    OptionPair,
    Overview,
    Response,
    chain_of,
    contract_of,
    markets_of,
    overview_of,
)
from ime_live.contracts import Contract
from ime_live.errors import PayloadError, ServiceError
from ime_live.market import Payload, PayloadSections
from ime_live.messages import ControlData
from ime_live.timezones import zone_of_tehran
from tests.support.hub_world import A

_READERS: Final = (
    Reader(zone_of_tehran(), Payload),
    Reader(zone_of_tehran(), PayloadSections),
)


def read_messages(data: bytes) -> None:
    """Read a message of a stream, and use it as programs do."""
    for reader in _READERS:
        message = reader.read(data)
        if isinstance(message, Message):
            _use(message)
        elif isinstance(message, Status):
            assert message.timestamp.tzinfo is not None
            assert pickle.loads(pickle.dumps(message)) == message  # noqa: S301 - just written
        elif isinstance(message, ControlData):
            assert message.errors is not None


def _use(message: Message[Payload] | Message[PayloadSections]) -> None:
    kind, name = message.key
    assert (kind == "name") == (message.contract_name is not None)
    assert name in {message.contract_name, message.contract_id}
    str(message)
    repr(message)
    with suppress(ServiceError):
        assert copy.copy(message) == message
        assert pickle.loads(pickle.dumps(message)) == message  # noqa: S301 - just written
    with suppress(PayloadError):
        message.to_dict()
    with suppress(ServiceError):
        assert message.timestamp.tzinfo is not None
    point = ResumePoint(snapshot=False)
    point.begin()
    point.take(message.key, message.timestamp_text)
    assert not point.take(message.key, message.timestamp_text), "taken twice"
    assert point.resumption([message.key]).since in {message.timestamp_text, None}
    with suppress(PayloadError):
        assert message.data is message.data
        message.data.to_dict()


def read_responses(data: bytes) -> None:
    """Read a response of a REST call; the input is ``Retry-After``, a line feed and the body."""
    header, _, body = data.partition(b"\n")
    text = header.decode("latin-1")
    response = Response(429, body, retry_after=text)
    assert response.wait >= 0
    assert response.detail is not None
    code = int.from_bytes(header[:2])
    error_of_close(code, response.detail)
    error_of_status(code % 600, "service", text)
    is_temporary(response.detail)
    raw = response.data
    for read in (contract_of, overview_of, markets_of, chain_of):
        with suppress(ServiceError):
            found = read(raw)
            for each in found if isinstance(found, list) else [found]:
                if isinstance(each, Contract | Overview | OptionPair):
                    each.to_dict()


_STAMP: Final = b'"timestamp":"2026-05-23T15:10:00.000000",'
_CONTRACT: Final = b'{"contractId":"1","contractName":"KASH","BestLimit":null}'

TARGETS: Final = (
    Target(
        "client-messages",
        "messages of a stream (`client/protocol`)",
        read_messages,
        (ServiceError,),
        (
            b'{"channel":"IME Stream",',
            b'{"channel":"IME Status",',
            b'{"channel":"IME Control",',
            _STAMP,
            b'"contractName":"KASH",',
            b'"ContractId":"1",',
            b'"data":%b}' % A.to_json(),
            b'"skipped":2,',
            b'"data":{"feed":"live","since":null,"lastBoard":null,"current":true,"markets":{},"contracts":{}}}',
            b'"data":{"id":1,"action":null,"contract_names":[],"contract_ids":[],"errors":[]}}',
            b'"data":{}}',
            b'"more":[1],',
            b'"0001-01-01T00:00:00+23:59"',
            b'"IMEFutures":"live"',
        ),
    ),
    Target(
        "client-responses",
        "responses of REST calls (`client/rest`)",
        read_responses,
        (ServiceError,),
        (
            b'{"Data":',
            b"}",
            _CONTRACT,
            b"[%b]" % _CONTRACT,
            b'{"detail":"no"}',
            b"1\n",
            b"\n",
            b"9" * 20,
            b'{"strikePrice":1,"ExpirationDate":"2026-12-01","call":%b,"put":null}' % _CONTRACT,
            b"\xb2",
            b'{"market":"IMEFutures","timeZone":"Asia/Tehran","sessions":null,"holidays":null}',
            A.to_json(),
        ),
    ),
)
