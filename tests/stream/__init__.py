"""The stream end to end: real gateway processes, a real Valkey, real sockets."""
