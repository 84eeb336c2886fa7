"""The client library: streams over WebSocket, and the REST calls.

Its public names are in `ime_live`. It needs the base install only.
"""
