"""The gateway: sends market data from the store to many clients."""
