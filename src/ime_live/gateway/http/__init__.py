"""HTTP/1.1: requests from the bytes of a connection, and responses of the ASGI application."""
