"""Connections to the service: tokens, proxies, the WebSocket library, and their errors."""
