"""Sources of market data: the exchange, recordings, a synthetic market."""
