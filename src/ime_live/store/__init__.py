"""Redis or Valkey: keys, scripts, last states, contracts, bars, Pub/Sub and the lease."""
