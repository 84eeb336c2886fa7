"""One-minute bars of all contracts: made from the streams and kept in the store."""
