"""Frames in files: recorded and replayed."""
