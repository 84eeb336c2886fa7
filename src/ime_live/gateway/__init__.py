"""The gateway: from the store to the sockets of many clients."""
