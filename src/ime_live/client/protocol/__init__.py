"""The protocol without I/O: requests of a stream, and the meaning of the service's answers."""
