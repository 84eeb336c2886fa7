"""How much clients may take of a gateway, and what they have taken; no I/O."""
