"""One-minute bars of all contracts, kept in the store while the streams are read."""
