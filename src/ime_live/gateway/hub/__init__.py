"""Who wants which contract, and what each subscriber gets next; no I/O."""
