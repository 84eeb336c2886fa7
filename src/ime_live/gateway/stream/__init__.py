"""One client's stream on a socket, from its request to its end."""
