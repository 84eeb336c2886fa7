"""Generate the documents that come from the code: `make docs`. It is not in the wheel."""
