"""Check an installation and a publisher's messages, and explain the faults."""
