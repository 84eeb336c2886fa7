"""The REST calls, for async and for blocking programs."""
