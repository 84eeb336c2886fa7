"""Check the token and the rate of REST requests."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final

from msgspec import Struct

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.errors import LimitError, RefusedError
from ime_live.gateway.auth.authenticator import Authenticator, find_token
from ime_live.gateway.auth.identity import ANONYMOUS, Identity
from ime_live.gateway.limits.rate_limit import RequestLimit
from ime_live.gateway.query.diagnostics import Diagnostics
from ime_live.gateway.rest.request import RestRequest

# Reading and writing this many more contracts takes about as long as the rest of a request.
_OF_ONE_REQUEST: Final = 20


class Admitted(Struct, frozen=True):
    """An admitted request.

    Attributes:
        identity: the identity in the token.
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
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Make an admission.

        Args:
            authenticator: checks tokens.
            limit: limits the rate of requests.
            diagnostics: logs what is wrong with requests.
            clock: the machine's clock.
        """
        self._authenticator = authenticator
        self._limit = limit
        self._diagnostics = diagnostics
        self._clock = clock

    async def admit(
        self, call: str, request: RestRequest, token: str | None, unknown: Sequence[str]
    ) -> Admitted:
        """Admit a request, and count it.

        Args:
            call: name of the call, for the log.
            request: the request.
            token: the token in its query, if any.
            unknown: names of parameters that the call does not know.

        Raises:
            AuthenticationError: the token is missing or bad.
            LimitError: too many requests.
            RefusedError: a parameter is unknown, and such parameters are refused.
        """
        # Also if the token is bad: it may be in a misspelt parameter.
        self._diagnostics.note_parameters(call, unknown)
        try:
            found = find_token(request.authorization, (), token)
            identity = await self._authenticator.authenticate(found)
        except RefusedError as error:
            self._diagnostics.note_refusal(call, error)
            raise
        named = identity.subject != ANONYMOUS
        who = ("subject", identity.subject) if named else ("peer", request.peer)
        wait = self._limit.take(who, self._clock.monotonic())
        if wait:
            raise LimitError(retry_after=wait)
        self._diagnostics.refuse_parameters(unknown)
        return Admitted(identity, who)

    def count(self, admitted: Admitted, contracts: int) -> None:
        """Let a request for many contracts count as several."""
        if contracts > _OF_ONE_REQUEST:
            self._limit.owe(admitted.who, (contracts - 1) // _OF_ONE_REQUEST)
