"""Fuzzing: feed invented bytes to everything that reads bytes of others, and check the results."""
