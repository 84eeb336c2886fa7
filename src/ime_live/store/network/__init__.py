"""Reach Redis or Valkey: its URL, its topology, connections and their faults."""
