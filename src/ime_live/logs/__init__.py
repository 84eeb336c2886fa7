"""Logs: format of the log lines, and a writer that never blocks."""

from ime_live.logs.configuration import configure_logging, lines_dropped, write_line

__all__ = ["configure_logging", "lines_dropped", "write_line"]
