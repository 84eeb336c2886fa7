"""Check tokens, and decide which contracts a client may see."""
