"""Set up logging: one format of log lines for the package and all libraries.

A thread writes lines to standard error as text or JSON (`ime_live.logs.writer`), so logging never
raises and never blocks. Values that may contain a token are not logged.
"""

from __future__ import annotations

import atexit
import logging
import re
import sys
import time
from collections.abc import Callable
from datetime import UTC
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

# Minimum levels. Below them, libraries log their internals, and uvicorn warns of each port scan.
_LIBRARY_LEVELS: Final = {
    "asyncio": logging.WARNING,
    "httpcore": logging.WARNING,
    "httpx": logging.WARNING,
    "uvicorn.error": logging.ERROR,
    "websockets.client": logging.WARNING,
    "websockets.server": logging.WARNING,
}

# Matches most values. The check whether another value needs quotes takes longer.
_PLAIN: Final = re.compile(r"[!#-<>-~]+")
_NEEDS_QUOTES: Final = frozenset(' "=')


_writer: LogWriter | None = None
"""Log writer of this process; None before `configure_logging`."""


def configure_logging(settings: LogSettings) -> None:
    """Set up logging for the whole process; a second call changes level and format."""
    global _writer
    level = getattr(logging, settings.log_level.upper())
    if _writer is None:
        _writer = LogWriter(_standard_error())
        atexit.register(_writer.flush)
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        _TimestampProcessor(),
        _rendered(settings.log_format),
    ]
    # Without the standard library, which would double the cost of a line; each stream writes two.
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=partial(_Logger, _writer),
    )
    handler = _Handler(_writer, settings.log_format)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_log_level, _TimestampProcessor()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _rendered(settings.log_format),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name, minimum in _LIBRARY_LEVELS.items():
        logging.getLogger(name).setLevel(max(level, minimum))
    # Python would print these to standard error.
    logging.captureWarnings(True)
    sys.unraisablehook = _log_unraisable


def write_line(line: str) -> None:
    """Write a plain line, in order with the log lines. Call `configure_logging` before."""
    if _writer is not None:
        _writer.write(line)


def lines_dropped() -> int:
    """Return the number of log lines of this process that could not be written."""
    return 0 if _writer is None else _writer.dropped


def _standard_error() -> int:
    """Return the descriptor of standard error; -1 if the process was started without it."""
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return -1  # not 2, which may be the descriptor of another file


class _TimestampProcessor:
    """Adds the time in ISO 8601 (UTC) to an event, five times as fast as structlog's processor."""

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
    """Passes lines of structlog to the writer."""

    def __init__(self, writer: LogWriter, *_: object) -> None:
        self.msg = writer.write

    def __getattr__(self, level: str) -> Callable[[str], None]:
        # The methods of all levels are the same.
        return self.msg


class _Handler(logging.Handler):
    """Passes records of the standard library to the writer."""

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
        "unraisable exception in %r",
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
    """Return a line that replaces one that cannot be formatted."""
    event = {
        "timestamp": SYSTEM_CLOCK.local(UTC).isoformat(),
        "level": "error",
        "event": "a log line cannot be written",
        "error": type(error).__name__,
        "text": ascii(text) if isinstance(text, str) else type(text).__name__,
    }
    return _to_json(event) if log_format is LogFormat.JSON else _to_text(None, "", event)


def _renderers(log_format: LogFormat) -> list[Processor]:
    if log_format is LogFormat.JSON:
        # Without local variables, which may contain a token.
        exceptions = ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
        return [exceptions, JSONRenderer(_to_json)]
    return [structlog.processors.format_exc_info, _to_text]


def _to_json(event: EventDict, **_: object) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()


def _to_text(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """Return ``time level event key=value …``, and the lines of a traceback after that."""
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
