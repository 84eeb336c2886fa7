"""Redis or Valkey: keys, scripts, last states, contracts, the subscriber and the lease."""
