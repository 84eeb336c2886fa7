"""Metrics of all programs, and the port for metrics and probes of programs without clients."""
