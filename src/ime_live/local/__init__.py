"""Run the whole service on one machine: an embedded Valkey, `up`, the demo and playback."""
