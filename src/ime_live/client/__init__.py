"""The client library: the stream over WebSocket, and the REST calls beside it.

`ime_live` has its public names. It needs the base install only, and knows nothing of the gateway
but what goes over the wire.
"""
