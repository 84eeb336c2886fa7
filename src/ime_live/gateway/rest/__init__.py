"""Answer the REST calls: snapshots, static data, search and the status report."""
