"""Documents: those that are written, and the code that generates the others (`make docs`)."""
