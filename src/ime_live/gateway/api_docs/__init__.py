"""OpenAPI and AsyncAPI, and the page that shows them."""
