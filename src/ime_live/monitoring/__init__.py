"""Metrics that all programs have, and the port for probes and metrics of feed and bars."""
