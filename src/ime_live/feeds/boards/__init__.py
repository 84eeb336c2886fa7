"""The exchange's boards: rows in, payloads and contracts out; no I/O."""
