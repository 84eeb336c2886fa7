"""Live market data of the Iran Mercantile Exchange."""
