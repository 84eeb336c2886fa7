"""The exchange's boards: read rows as payloads and contracts, without I/O."""
