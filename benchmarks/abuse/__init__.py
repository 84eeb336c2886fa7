"""Abuse: clients that attack a gateway, and their effect on its memory and its other clients."""
