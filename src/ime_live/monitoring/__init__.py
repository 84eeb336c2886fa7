"""What programs measure of themselves for Prometheus, and the port of those without clients."""
