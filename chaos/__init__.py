"""Fault injection: break parts of a running service, check what each client receives."""
