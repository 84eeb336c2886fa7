"""Where market data comes from: the exchange, recordings, a synthetic market."""
