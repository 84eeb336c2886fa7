"""Deliver changed states to subscribers; no I/O."""
