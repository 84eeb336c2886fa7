"""How log lines are written: one format for the package, uvicorn and every other library.

An event and its fields come in through structlog or the standard library; a line of text or of
JSON goes out to standard error. Lines never hold a token: what could carry one is not logged.
"""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import Processor

from ime_live.settings import LogFormat, LogSettings


def configure_logging(settings: LogSettings) -> None:
    """Set up logging for the whole process."""
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[Processor]
    if settings.log_format is LogFormat.JSON:
        renderer = [
            structlog.processors.ExceptionRenderer(
                # Local variables may hold a token.
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    else:
        renderer = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                # Not rich's, which shows local variables, and with them tokens.
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    level = getattr(logging, settings.log_level.upper())
    root.setLevel(level)
    # Libraries speak of their own insides at this level; it says nothing to an operator.
    for noisy in ("uvicorn.error", "websockets.server", "asyncio", "httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
