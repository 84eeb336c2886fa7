"""Running streams: connect, receive, reconnect; for async and for blocking programs."""
