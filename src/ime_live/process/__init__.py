"""A running program: its signals, the port that it is bound to, and the reload of its settings."""
