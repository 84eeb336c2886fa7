"""Recordings of frames: write them, and replay them."""
