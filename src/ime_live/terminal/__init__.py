"""The market as a table in a terminal."""
