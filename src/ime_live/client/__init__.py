"""The client library: streams over WebSocket, and the REST calls.

Its public names are in `ime_live`. It needs the base install only. `protocol` is its core without
I/O, `network` the way to the service, `stream` and `rest` are what programs use.
"""
