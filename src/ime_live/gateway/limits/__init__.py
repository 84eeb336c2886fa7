"""Limits of clients, and their usage. No I/O."""
