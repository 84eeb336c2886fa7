"""Parts of a running program: signals, its listening socket, and the reload of its settings."""
