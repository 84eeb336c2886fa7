"""Read the paths and parameters of requests, and explain their faults."""
