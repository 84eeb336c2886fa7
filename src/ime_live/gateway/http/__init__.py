"""One HTTP/1.1 connection: its requests and responses, its peer, and its end."""
