"""The metrics that all programs have, and the port of programs without clients."""
