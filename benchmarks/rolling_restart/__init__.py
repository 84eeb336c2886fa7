"""A rolling restart of two gateways under clients that resume."""
