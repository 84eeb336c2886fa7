"""Log and explain unknown parameters and contracts in requests.

The documented service ignores unknown parameters. Most are typing errors, so they are logged, or
refused with ``--strict-query``. For an unknown contract, a similar one is suggested.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import structlog

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.errors import RefusedError
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.query.stream_query import ContractNotFoundError
from ime_live.gateway.query.suggestions import LONGEST_NAME, MaySee, Suggestion, Suggestions
from ime_live.log_limiter import LogLimiter
from ime_live.registry import Registry

log = structlog.get_logger()

# Names whose log lines are limited separately; a client can invent any number of names.
_MAX_LOGGED_NAMES: Final = 100

# Unknown contracts per request for which a similar one is searched, which takes 0.5 ms each.
_MAX_EXPLAINED: Final = 3

_ESCAPED_AMPERSAND: Final = "amp;"


class Diagnostics:
    """Logs and explains unknown parameters and contracts, for all requests of a process."""

    def __init__(self, *, strict: bool = False, clock: Clock = SYSTEM_CLOCK) -> None:
        """Make the diagnostics of a process.

        Args:
            strict: whether to refuse requests with unknown parameters.
            clock: the machine's clock.
        """
        self._strict = strict
        self._suggestions = Suggestions()
        self._limited = LogLimiter(log, max_keys=_MAX_LOGGED_NAMES, clock=clock)

    def note_parameters(self, call: str, unknown: Collection[str]) -> None:
        """Log the names of unknown parameters of a call."""
        for name in unknown:
            fields = {"call": call}
            if name.lower().startswith(_ESCAPED_AMPERSAND):
                fields["hint"] = "the URL has &amp; instead of &"
            shown = printable_name(name)
            self._limited.warning(
                "unknown query parameter", key=("parameter", shown), parameter=shown, **fields
            )

    def refuse_parameters(self, unknown: Collection[str]) -> None:
        """Refuse a request with unknown parameters, if the diagnostics are strict.

        Raises:
            RefusedError: 1008.
        """
        if self._strict and unknown:
            name = printable_name(next(iter(unknown)))
            raise RefusedError(f"unknown parameter: {name}", kind="unknown parameter")

    def note_refusal(self, call: str, refusal: RefusedError) -> None:
        """Log the reason of a refused call; a stream logs its own refusal."""
        reason, detail = refusal.reason, refusal.detail
        fields = {"detail": detail} if detail else {}
        self._limited.info(
            "request refused", key=("refusal", reason, detail), call=call, reason=reason, **fields
        )

    def explain_refusal(
        self, refusal: ContractNotFoundError, registry: Registry, may_see: MaySee
    ) -> None:
        """Add a suggestion to the refusal of an unknown contract, if a similar contract exists."""
        suggestion = self._suggestions.find(refusal.by, refusal.name, registry, may_see)
        if suggestion is not None:
            refusal.detail = suggestion.en

    def explain_unknown(
        self, by: By, names: Sequence[str], registry: Registry, may_see: MaySee
    ) -> Suggestion:
        """Return a sentence that names unknown contracts and suggests similar ones.

        Args:
            by: whether ``names`` are names or ids.
            names: the unknown names or ids, at least one.
            registry: the known contracts.
            may_see: returns whether the client's token covers a contract.
        """
        en, fa = [], []
        for name in names[:_MAX_EXPLAINED]:
            suggestion = self._suggestions.find(by, name, registry, may_see)
            shown = printable_name(name)
            hint = {} if suggestion is None else {"hint": suggestion.en}
            self._limited.info(
                "unknown contract", key=("contract", shown), contract=shown, by=by.value, **hint
            )
            en.append(shown if suggestion is None else f"{shown} ({suggestion.en})")
            fa.append(shown if suggestion is None else f"{shown} ({suggestion.fa})")
        more = len(names) - _MAX_EXPLAINED
        if more > 0:
            en.append(f"and {more} more")
            fa.append(f"و {more} مورد دیگر")
        return Suggestion(
            f"unknown contract: {', '.join(en)}", f"قرارداد ناشناخته: {'، '.join(fa)}"
        )


def printable_name(name: str) -> str:
    """Return a name from a client for the log; a long one is hidden, because it may be a token."""
    return name if len(name) <= LONGEST_NAME else f"({len(name)} characters)"
