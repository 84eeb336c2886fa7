"""A market that does not exist, for the demo."""
