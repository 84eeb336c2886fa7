"""Publications: market data of the documented size, with the time of publication in it.

Contracts are ``B0000`` to ``B0499``, with the ids 0 to 499. Each message differs from the one
before, so that no server has reason to hold it back, and all have the same length.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Final, Protocol

from benchmarks.load import clock
from ime_live.contracts import Market

MARKET: Final = Market.OPTION
"""The market of all contracts."""

STREAM: Final = "/live/data/websocket/contract/name?"

# The clock takes the place of the day's value, which has as many digits.
_DATA = (
    b'{"BestLimit":{"1":{"buy_quantity":%d,"buy_price":83500,"sell_quantity":30,'
    b'"sell_price":83600},"2":{"buy_quantity":12,"buy_price":83400,"sell_quantity":30,'
    b'"sell_price":83700},"3":{"buy_quantity":12,"buy_price":83300,"sell_quantity":30,'
    b'"sell_price":83800}},"Aggregate":{"date":"2026-11-22","time":"12:33:21",'
    b'"trade_count":5100,"total_volume":95600,"total_value":%d,"closing_price":83738.0952,'
    b'"last_price":83600,"low_price":83500,"high_price":83900,"open_price":83700,'
    b'"previous_close":83411},"AllowedPriceRange":{"minAllowedPrice":79240,'
    b'"maxAllowedPrice":87582},"ContractInfo":{"open_interest":772,'
    b'"open_interest_changes":-61}}'
)
_MESSAGE = (
    b'{"channel":"IME Stream","contractName":"%b","timestamp":"2026-11-22T12:33:21.123456","data":'
)


def data_of(number: int) -> bytes:
    """A payload's JSON; another number is another state."""
    return _DATA % (number, clock())


def name_of(contract: int) -> str:
    """The contract's name."""
    return f"B{contract:04}"


def query_of(contracts: Sequence[int]) -> str:
    """The path of a stream of these contracts, with the query as ime-live's clients send it."""
    return STREAM + "&".join(f"contract_names={name_of(contract)}" for contract in contracts)


class Publisher(Protocol):
    """Publishes for one kind of server."""

    def publish(self, contracts: Sequence[int]) -> None:
        """Publish one update of each of these contracts, all at once."""

    def close(self) -> None:
        """End the connection."""


class RedisPublisher:
    """Publishes over Redis: bare payloads to our channels, or whole messages to ``bench:``."""

    def __init__(self, port: int, *, whole: bool) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._whole = whole
        self._number = 100_000

    def publish(self, contracts: Sequence[int]) -> None:
        """Publish in one write, so that the updates arrive together."""
        commands = []
        for contract in contracts:
            self._number += 1
            data = data_of(self._number)
            if self._whole:
                name = name_of(contract).encode()
                channel, text = b"bench:" + name, _MESSAGE % name + data + b"}"
            else:
                channel, text = b"ime:live:{%d}" % contract, b'{"data":' + data + b"}"
            commands.append(
                b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n"
                % (len(channel), channel, len(text), text)
            )
        self._socket.sendall(b"".join(commands))
        answers = 0
        while answers < len(commands):
            answers += self._socket.recv(65_536).count(b"\n")

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


class _HttpPublisher:
    """Publishes by HTTP on one connection, and does not wait for the answers."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._number = 100_000

    def _next_data(self) -> bytes:
        self._number += 1
        return data_of(self._number)

    def _send(self, requests: bytes) -> None:
        self._socket.sendall(requests)
        # The answers are short and nobody needs them; they are read so that they do not pile up.
        self._socket.setblocking(False)
        try:
            while self._socket.recv(65_536):
                pass
        except BlockingIOError:
            pass
        finally:
            self._socket.setblocking(True)

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


class NchanPublisher(_HttpPublisher):
    """Publishes to Nchan: a POST for each message, pipelined."""

    def publish(self, contracts: Sequence[int]) -> None:
        """Publish in one write, so that the updates arrive together."""
        requests = []
        for contract in contracts:
            name = name_of(contract).encode()
            text = _MESSAGE % name + self._next_data() + b"}"
            requests.append(
                b"POST /publish/%b HTTP/1.1\r\nHost: nchan\r\nContent-Length: %d\r\n\r\n%b"
                % (name, len(text), text)
            )
        self._send(b"".join(requests))


class CentrifugoPublisher(_HttpPublisher):
    """Publishes to Centrifugo: one batch for each burst.

    Its messages have an envelope of their own around the data, about as long as ours.
    """

    def publish(self, contracts: Sequence[int]) -> None:
        """Publish in one request, so that the updates arrive together."""
        body = b'{"commands":[%b]}' % b",".join(
            b'{"publish":{"channel":"%b","data":%b}}'
            % (name_of(contract).encode(), self._message_of(contract))
            for contract in contracts
        )
        self._send(
            b"POST /api/batch HTTP/1.1\r\nHost: centrifugo\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )

    def _message_of(self, contract: int) -> bytes:
        return _MESSAGE % name_of(contract).encode() + self._next_data() + b"}"
