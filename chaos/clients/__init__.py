"""Clients of all kinds on two gateways."""
