"""The servers that are measured beside the gateway, each a small program of its own."""
