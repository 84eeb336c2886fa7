"""Benchmarks: this gateway beside its alternatives, in one run on one machine."""
