"""Benchmarks: this gateway beside what anyone would pick instead, in one run on one machine."""
