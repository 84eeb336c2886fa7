"""Serve one client's stream on a socket, from the request to the close."""
