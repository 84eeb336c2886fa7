"""Admission: who may be answered by plain HTTP, and how often."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Final

from msgspec import Struct

from ime_live.errors import RateError, RefusedError
from ime_live.gateway.auth.authenticator import ANONYMOUS, Authenticator, find_token
from ime_live.gateway.auth.identity import Identity
from ime_live.gateway.query.diagnostics import Diagnostics
from ime_live.gateway.rest.rate_limit import RequestLimit

# To read and write so many contracts more takes about as long as the rest of a request does.
_OF_ONE_REQUEST: Final = 20


class Asked(Struct, frozen=True):
    """A request as far as its answer depends on it.

    Attributes:
        authorization: the header of that name, if it was sent.
        query: as sent, percent-encoded UTF-8.
        peer: address of the peer.
    """

    authorization: str | None
    query: str
    peer: str


class Admitted(Struct, frozen=True):
    """Whose request is answered.

    Attributes:
        identity: what the token says.
        who: whose requests count together: the token's subject, else the peer's address.
    """

    identity: Identity
    who: Hashable


class Admission:
    """Checks the token and the rate of each request."""

    def __init__(
        self,
        authenticator: Authenticator,
        limit: RequestLimit,
        diagnostics: Diagnostics,
        monotonic: Callable[[], float],
    ) -> None:
        """Make an admission.

        Args:
            authenticator: checks tokens.
            limit: how often somebody may ask.
            diagnostics: logs what is wrong with requests.
            monotonic: seconds.
        """
        self._authenticator = authenticator
        self._limit = limit
        self._diagnostics = diagnostics
        self._monotonic = monotonic

    async def admit(
        self, call: str, asked: Asked, token: str | None, unknown: Sequence[str]
    ) -> Admitted:
        """Admit a request, which counts from now on.

        Args:
            call: its name, for the log.
            asked: the request.
            token: from its query, if it is there.
            unknown: names of parameters that the call does not know.

        Raises:
            AuthenticationError: the token is missing or bad.
            RateError: too many requests.
            RefusedError: a parameter is unknown, and they are refused.
        """
        # Also if the token is bad: it may be in a parameter that was misspelt.
        self._diagnostics.note_parameters(call, unknown)
        try:
            found = find_token(asked.authorization, (), token)
            identity = await self._authenticator.authenticate(found)
        except RefusedError as error:
            self._diagnostics.note_refusal(call, error)
            raise
        named = identity.subject != ANONYMOUS
        who = ("subject", identity.subject) if named else ("peer", asked.peer)
        wait = self._limit.take(who, self._monotonic())
        if wait:
            raise RateError(wait)
        self._diagnostics.refuse_parameters(unknown)
        return Admitted(identity, who)

    def count(self, admitted: Admitted, contracts: int) -> None:
        """Let a request for many contracts count as several."""
        if contracts > _OF_ONE_REQUEST:
            self._limit.owe(admitted.who, (contracts - 1) // _OF_ONE_REQUEST)
