"""A running program: the port that it is bound to, and the reload of its settings."""
