"""Keep the states, contracts and revocations of the gateway equal to those in the store."""
