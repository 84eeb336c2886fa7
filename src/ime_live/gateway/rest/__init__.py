"""The REST calls: snapshots, static data, search and the status report."""
