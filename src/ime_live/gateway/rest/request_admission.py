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

# To read and write this many contracts takes about as long as the rest of a request.
_CONTRACTS_PER_REQUEST: Final = 20


class AdmittedRequest(Struct, frozen=True):
    """An admitted request.

    Attributes:
        identity: the identity in the token.
        rate_key: key of the client in the rate limit: the token's subject, or the peer's address.
    """

    identity: Identity
    rate_key: Hashable


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
            diagnostics: logs unknown parameters and refusals.
            clock: the machine's clock.
        """
        self._authenticator = authenticator
        self._limit = limit
        self._diagnostics = diagnostics
        self._clock = clock

    async def admit(
        self, call: str, request: RestRequest, token: str | None, unknown: Sequence[str]
    ) -> AdmittedRequest:
        """Admit a request, and count it.

        Args:
            call: name of the call, for the log.
            request: the request.
            token: the token in the query; None without one.
            unknown: names of unknown parameters.

        Raises:
            AuthenticationError: the token is missing or bad.
            LimitError: too many requests.
            RefusedError: a parameter is unknown, and such parameters are refused.
        """
        # Before the token is checked, because it may be in a misspelt parameter.
        self._diagnostics.note_parameters(call, unknown)
        try:
            token = find_token(request.authorization, (), token)
            identity = await self._authenticator.authenticate(token)
        except RefusedError as error:
            self._diagnostics.note_refusal(call, error)
            raise
        has_subject = identity.subject != ANONYMOUS
        rate_key = ("subject", identity.subject) if has_subject else ("peer", request.peer)
        wait = self._limit.take(rate_key, self._clock.monotonic())
        if wait:
            raise LimitError(retry_after=wait)
        self._diagnostics.refuse_parameters(unknown)
        return AdmittedRequest(identity, rate_key)

    def count(self, admitted: AdmittedRequest, contracts: int) -> None:
        """Count a request for many contracts as several requests."""
        if contracts > _CONTRACTS_PER_REQUEST:
            self._limit.charge(admitted.rate_key, (contracts - 1) // _CONTRACTS_PER_REQUEST)
