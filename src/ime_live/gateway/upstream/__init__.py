"""What the gateway knows of the store, and whether it is current."""
