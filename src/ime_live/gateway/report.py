"""Report: the answer to whoever asks for the feed's state by plain HTTP.

A token and a query come in; what the feed says of itself and the age of each contract that the
token may see go out as JSON, or a refusal. It knows no HTTP. Asking costs Redis little, however
often it is done: see `ime_live.gateway.versions`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import tzinfo
from typing import Any, Final

import msgspec

from ime_live.contracts import Contract, Registry
from ime_live.errors import StoreError
from ime_live.gateway.auth import Authenticator, find_token
from ime_live.gateway.directory import Directory
from ime_live.gateway.feed import Feed
from ime_live.gateway.identity import Identity
from ime_live.gateway.session import By, StatusRequest, find, read_status_request
from ime_live.gateway.versions import Versions
from ime_live.gateway.watch import optional_timestamp
from ime_live.market import MICROSECONDS, timestamp_of
from ime_live.status import FeedStatus

# As in the patterns of tokens.
_ID: Final = "id:"

_encode = msgspec.json.Encoder().encode


class Reporter:
    """See the module's text."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        directory: Directory,
        feed: Feed,
        versions: Versions,
        zone: tzinfo,
        clock: Callable[[], int],
    ) -> None:
        """Make a reporter.

        Args:
            authenticator: who asks.
            directory: which contracts there are.
            feed: its state.
            versions: which state of each contract is the last.
            zone: whose wall clock the time stamps show.
            clock: microseconds since the epoch.
        """
        self._authenticator = authenticator
        self._directory = directory
        self._feed = feed
        self._versions = versions
        self._zone = zone
        self._clock = clock

    async def report(self, authorization: str | None, query: str) -> bytes:
        """Answer a request.

        Args:
            authorization: the header of that name.
            query: as sent, percent-encoded UTF-8.

        Raises:
            AuthenticationError: the token is missing or bad.
            RefusedError: a contract is unknown or not covered by the token; or, with code 1013,
                what is needed to answer is not there yet.
        """
        request = read_status_request(query)
        token = find_token(authorization, (), request.token)
        identity = await self._authenticator.authenticate(token)
        contracts = named(request, self._directory.registry, identity)
        versions = await self._read_versions(contracts)
        now = self._clock()
        answer = {
            "timestamp": timestamp_of(now, self._zone),
            "redis": versions is not None,
            **about_feed(self._feed.status, self._zone),
            "contracts": {
                name: about_contract(
                    contract, (versions or {}).get(contract.contract_id), now, self._zone
                )
                for name, contract in contracts.items()
            },
        }
        return _encode(answer)

    async def _read_versions(self, contracts: Mapping[str, Contract]) -> Mapping[str, int] | None:
        if not self._feed.reached:
            return None
        try:
            return await self._versions.read({c.contract_id for c in contracts.values()})
        except StoreError:
            return None


def named(request: StatusRequest, registry: Registry, identity: Identity) -> Mapping[str, Contract]:
    """The contracts that are asked for, by the name that the answer gives them.

    That is the one they were asked for by, else their own; ``id:`` and the id, if another contract
    goes by that name.

    Raises:
        RefusedError: 1008; one is unknown or not covered by the token.
    """
    found = {name: find(By.NAME, name, registry, identity.may_see) for name in request.names}
    asked = [find(By.ID, i, registry, identity.may_see) for i in request.ids]
    if not (request.names or request.ids):
        asked = [contract for contract in registry if identity.may_see(contract)]
    for contract in asked:
        name = contract.contract_name
        if registry.by_name(name) is not contract:
            name = _ID + contract.contract_id
        found[name] = contract
    return found


def about_feed(status: FeedStatus | None, zone: tzinfo) -> dict[str, Any]:
    """What the report says of the feed; nothing but nulls where there never was one."""
    if status is None:
        status_fields = dict.fromkeys(("feed", "since", "lastBoard", "source", "error"))
        return {**status_fields, "markets": {}}
    return {
        "feed": status.state,
        "since": timestamp_of(status.since, zone),
        "lastBoard": optional_timestamp(status.last_board, zone),
        "source": status.source or None,
        "error": status.error,
        "markets": {
            market: {
                "state": each.state,
                "lastBoard": optional_timestamp(each.last_board, zone),
                "contracts": each.contracts,
                "until": optional_timestamp(each.until, zone),
            }
            for market, each in status.markets.items()
        },
    }


def about_contract(
    contract: Contract, version: int | None, now: int, zone: tzinfo
) -> dict[str, Any]:
    """What the report says of a contract.

    Args:
        contract: its record.
        version: of its last state; None if it has none, or it is not known.
        now: microseconds since the epoch.
        zone: whose wall clock the time stamp shows.
    """
    about: dict[str, Any] = {
        "id": contract.contract_id,
        "market": contract.market,
        "timestamp": optional_timestamp(version, zone),
        # The publisher's clock may be ahead of ours.
        "age": None if version is None else max(0, now - version) / MICROSECONDS,
    }
    for mark in ("expired", "delisted"):
        if getattr(contract, mark):
            about[mark] = True
    return about
