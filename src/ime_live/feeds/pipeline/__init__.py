"""The pipeline from boards to the store: reading, publishing, leadership and health."""
