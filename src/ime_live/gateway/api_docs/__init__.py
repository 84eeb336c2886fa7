"""Serve the OpenAPI and AsyncAPI documents, and the page that shows them."""
