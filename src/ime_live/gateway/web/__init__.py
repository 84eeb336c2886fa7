"""Serve pages and scripts for people, as plain files of the package."""
