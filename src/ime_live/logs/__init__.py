"""Logs: how log lines look, and how they are written without waiting."""

from ime_live.logs.configuration import configure_logging, lines_dropped, write_line

__all__ = ["configure_logging", "lines_dropped", "write_line"]
