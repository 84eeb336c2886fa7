"""Rate-limited logging: write a repeated event once per interval, with a count.

A fault of the store or of a publisher may come with every message. Thousands of lines about it
would hide everything else and cost more than the fault itself.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final

from ime_live.clock import SYSTEM_CLOCK, Clock

INTERVAL: Final = 60.0
"""Seconds between two lines of one kind."""

_MAX_KEYS: Final = 1_000

_OVERFLOW: Final = object()


class PlainLines:
    """Adapter that lets a `LogLimiter` write lines of text, to standard error or a library's
    logger."""

    def __init__(
        self, warning: Callable[[str], object], *, info: Callable[[str], object] | None = None
    ) -> None:
        """Create an adapter.

        Args:
            warning: writes a line of level ``warning``.
            info: writes a line of level ``info``; None uses ``warning``.
        """
        self._warning = warning
        self._info = info or warning

    def info(self, event: str, *, repeated: int = 0) -> None:
        """Write a line of level ``info``."""
        self._info(_with_count(event, repeated))

    def warning(self, event: str, *, repeated: int = 0) -> None:
        """Write a line of level ``warning``."""
        self._warning(_with_count(event, repeated))


def _with_count(event: str, repeated: int) -> str:
    return f"{event} ({repeated} more since the last such line)" if repeated else event


class LogLimiter:
    """Writes the first event of a kind at once, and the next one only after an interval.

    The next line has the number of events that were left out since, in ``repeated``.

    ::

        limited = LogLimiter(structlog.get_logger())
        limited.warning("message dropped", key=(contract_id, reason), contract_id=contract_id)
    """

    def __init__(
        self,
        log: Any,  # noqa: ANN401 - structlog types its loggers so
        *,
        interval: float = INTERVAL,
        max_keys: int = _MAX_KEYS,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Create a limiter.

        Args:
            log: the logger that writes the lines.
            interval: seconds between two lines of one kind.
            max_keys: maximum number of distinct kinds at a time. Further ones count as one kind
                together, so that neither memory nor the log grows without end.
            clock: the machine's clock.
        """
        self._log = log
        self._interval = interval
        self._max_keys = max_keys
        self._monotonic = clock.monotonic
        self._kinds: dict[Hashable, tuple[float, int]] = {}
        """By kind: when the next line may be written, and how many were left out since the last."""

    def info(self, event: str, /, *, key: Hashable, **fields: object) -> bool:
        """Write a line of level ``info`` if one of this kind is due; return whether it was."""
        return self._write(self._log.info, event, key, fields)

    def warning(self, event: str, /, *, key: Hashable, **fields: object) -> bool:
        """Write a line of level ``warning`` if one of this kind is due; return whether it was."""
        return self._write(self._log.warning, event, key, fields)

    def error(self, event: str, /, *, key: Hashable, **fields: object) -> bool:
        """Write a line of level ``error`` if one of this kind is due; return whether it was."""
        return self._write(self._log.error, event, key, fields)

    def forget(self, key: Hashable) -> None:
        """Write the next event of this kind at once, because the fault has ended."""
        self._kinds.pop(key, None)

    def _write(
        self, write: Callable[..., object], event: str, key: Hashable, fields: dict[str, object]
    ) -> bool:
        now = self._monotonic()
        if key not in self._kinds and len(self._kinds) >= self._max_keys:
            self._kinds = {kind: state for kind, state in self._kinds.items() if state[0] > now}
            if len(self._kinds) >= self._max_keys:
                key = _OVERFLOW
        due, repeated = self._kinds.get(key, (now, 0))
        if now < due:
            self._kinds[key] = due, repeated + 1
            return False
        self._kinds[key] = now + self._interval, 0
        if repeated:
            fields["repeated"] = repeated
        write(event, **fields)
        return True
