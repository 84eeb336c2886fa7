"""The whole service on one machine: an embedded Valkey, supervised processes, `up` and the demo."""
