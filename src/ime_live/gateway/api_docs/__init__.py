"""Make the OpenAPI and AsyncAPI documents, and serve the page that shows them."""
