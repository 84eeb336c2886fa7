"""Logs: one format of log lines for the package, uvicorn and every other library.

Lines go to standard error as text or JSON, written by a thread (`ime_live.logs.writer`), so logging
never raises and never waits. Values that may contain a token are not logged.
"""

from __future__ import annotations

import atexit
import logging
import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import msgspec
import structlog
from structlog.processors import ExceptionRenderer, JSONRenderer
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

from ime_live.clock import SYSTEM_CLOCK
from ime_live.logs.writer import LogWriter
from ime_live.settings import LogFormat, LogSettings

# Below this level libraries log their internals, and uvicorn warns of every port scan.
_QUIET: Final = {
    "asyncio": logging.WARNING,
    "httpcore": logging.WARNING,
    "httpx": logging.WARNING,
    "uvicorn.error": logging.ERROR,
    "websockets.client": logging.WARNING,
    "websockets.server": logging.WARNING,
}

# Most values; others may need quotes, which takes longer to find out.
_PLAIN: Final = re.compile(r"[!#-<>-~]+")
_NEEDS_QUOTES: Final = frozenset(' "=')


_writer: LogWriter | None = None
"""The log writer of this process; None before `configure_logging`."""


def configure_logging(settings: LogSettings) -> None:
    """Set up logging for the whole process."""
    global _writer
    level = getattr(logging, settings.log_level.upper())
    if _writer is None:
        _writer = LogWriter(_standard_error())
        atexit.register(_writer.flush)
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        _Stamper(),
        _rendered(settings.log_format),
    ]
    # Directly to the writer: through the standard library a line costs twice as much, and each
    # connection writes two.
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=partial(_Logger, _writer),
    )
    handler = _Handler(_writer, settings.log_format)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_log_level, _Stamper()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _rendered(settings.log_format),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(level, least))
    # Python would print them to standard error.
    logging.captureWarnings(True)
    sys.unraisablehook = _log_unraisable


def write_line(line: str) -> None:
    """Write a plain line, in order with the log lines; call `configure_logging` before."""
    if _writer is not None:
        _writer.write(line)


def lines_dropped() -> int:
    """Return the number of this process's log lines that could not be written."""
    return 0 if _writer is None else _writer.dropped


def _standard_error() -> int:
    """Return the descriptor of standard error; an invalid one if the process has none."""
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return -1  # and not 2, which another file may have then


class _Stamper:
    """Adds the time to an event, ISO 8601 in UTC; structlog's own takes five times as long."""

    def __init__(self) -> None:
        self._second = 0, ""

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        del logger, method
        now, micros = divmod(SYSTEM_CLOCK.time_us(), 1_000_000)
        second, text = self._second
        if second != now:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
            self._second = now, text
        event["timestamp"] = f"{text}.{micros:06d}Z"
        return event


class _Logger:
    """The sink of structlog's lines."""

    def __init__(self, writer: LogWriter, *_: object) -> None:
        self.msg = writer.write

    def __getattr__(self, level: str) -> Callable[[str], None]:
        # Lines of all levels are written in the same way.
        return self.msg


class _Handler(logging.Handler):
    """The sink of the standard library's records."""

    def __init__(self, writer: LogWriter, log_format: LogFormat) -> None:
        super().__init__()
        self._writer = writer
        self._log_format = log_format

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - as in `_rendered`
            line = _unwritable(self._log_format, record.msg, error)
        self._writer.write(line)


def _log_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    logging.getLogger(__name__).error(
        "an exception in %r, which cannot raise one",
        unraisable.object,
        exc_info=unraisable.exc_value,
    )


def _rendered(log_format: LogFormat) -> Processor:
    """Return the processor that formats an event as a line. It never raises."""
    renderers = _renderers(log_format)

    def render(logger: WrappedLogger, method: str, event: EventDict) -> str:
        text = event.get("event")
        try:
            rendered: Any = event
            for renderer in renderers:
                rendered = renderer(logger, method, rendered)
            return str(rendered)
        except Exception as error:  # noqa: BLE001 - see above
            return _unwritable(log_format, text, error)

    return render


def _unwritable(log_format: LogFormat, text: object, error: Exception) -> str:
    """Return the replacement of a line that cannot be formatted."""
    event = {
        "timestamp": datetime.now(UTC).isoformat(),
        "level": "error",
        "event": "a log line cannot be written",
        "error": type(error).__name__,
        "text": ascii(text) if isinstance(text, str) else type(text).__name__,
    }
    return _to_json(event) if log_format is LogFormat.JSON else _to_text(None, "", event)


def _renderers(log_format: LogFormat) -> list[Processor]:
    if log_format is LogFormat.JSON:
        # Without local variables, which may hold a token.
        exceptions = ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
        return [exceptions, JSONRenderer(_to_json)]
    return [structlog.processors.format_exc_info, _to_text]


def _to_json(event: EventDict, **_: object) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()


def _to_text(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """``time level event key=value …``; a traceback follows on lines of its own."""
    del logger, method
    time, level, text = event.pop("timestamp"), event.pop("level"), event.pop("event")
    exception = event.pop("exception", None)
    parts = [f"{time} {level:<7} {text}"]
    for key, value in event.items():
        is_plain = isinstance(value, str) and _PLAIN.fullmatch(value)
        parts.append(f"{key}={value if is_plain else _value(value)}")
    line = " ".join(parts)
    return f"{line}\n{exception}" if exception else line


def _value(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    if _PLAIN.fullmatch(text):
        return text
    if not text or not text.isprintable() or not _NEEDS_QUOTES.isdisjoint(text):
        return msgspec.json.encode(text).decode()
    return text
