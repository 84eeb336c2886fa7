"""The way to the service: tokens, proxies, the WebSocket library, and the faults of each."""
