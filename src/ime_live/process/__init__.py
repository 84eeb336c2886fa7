"""A running program: its signals, its listening socket, and the reload of its settings."""
