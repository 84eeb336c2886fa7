"""Serve the web pages and scripts of the package as static files."""
