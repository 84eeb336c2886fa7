"""Keep the gateway's states and contracts equal to those in the store."""
