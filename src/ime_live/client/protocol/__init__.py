"""The core without I/O: what a stream asks for, and what the service's answers mean."""
