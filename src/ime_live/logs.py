"""How log lines are written: one format for the package, uvicorn and every other library.

An event and its fields come in through structlog or the standard library; a line of text or of
JSON goes out to standard error. Lines never hold a token: what could carry one is not logged.
"""

from __future__ import annotations

import logging
import sys
from typing import Final

import msgspec
import structlog
from structlog.processors import ExceptionRenderer, JSONRenderer, TimeStamper
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

from ime_live.settings import LogFormat, LogSettings

# Libraries speak of their own insides below this level, and uvicorn warns of every port scan.
_QUIET: Final = {
    "asyncio": logging.WARNING,
    "httpcore": logging.WARNING,
    "httpx": logging.WARNING,
    "uvicorn.error": logging.ERROR,
    "websockets.client": logging.WARNING,
    "websockets.server": logging.WARNING,
}

_NEEDS_QUOTES: Final = frozenset(' "=')


def configure_logging(settings: LogSettings) -> None:
    """Set up logging for the whole process."""
    level = getattr(logging, settings.log_level.upper())
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        TimeStamper(fmt="iso", utc=True),
        *_renderers(settings.log_format),
    ]
    # Straight to the stream: by way of the standard library a line costs twice as much, and each
    # connection writes two.
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_log_level, TimeStamper(fmt="iso", utc=True)],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(settings.log_format),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(level, least))


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
    fields = "".join(f" {key}={_value(value)}" for key, value in event.items())
    line = f"{time} {level:<7} {text}{fields}"
    return f"{line}\n{exception}" if exception else line


def _value(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    if not text or not text.isprintable() or not _NEEDS_QUOTES.isdisjoint(text):
        return msgspec.json.encode(text).decode()
    return text
