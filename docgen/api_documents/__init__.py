"""Build the OpenAPI and AsyncAPI documents from the code; the gateway only reads the files."""
