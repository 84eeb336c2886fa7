"""Connect to Redis or Valkey: URL, topology, connections and their faults."""
