"""Checks of an installation and of a publisher's messages, with explanations."""
