"""Adapt the API documents to the settings of a gateway.

``make docs`` builds the documents from the code, for a gateway with tokens, and writes them beside
this module. This module changes only the parts that depend on the settings.
"""

from __future__ import annotations

from importlib.metadata import version
from importlib.resources import files
from typing import Any, Final

import msgspec
from msgspec import Struct

from ime_live.settings import AuthMode, GatewaySettings

Node = dict[str, Any]
"""A part of a document."""

_VERSION: Final = version("ime-live")


class BaseUrl(Struct, frozen=True):
    """The address at which clients reach the gateway.

    Attributes:
        host: name or address of the host, with the port if it is not the scheme's default.
        pathname: prefix of the streams' paths; empty, or starting with a slash.
        secure: whether clients use TLS.
    """

    host: str
    pathname: str = ""
    secure: bool = False


def openapi(settings: GatewaySettings) -> Node:
    """Return the OpenAPI document, which describes the REST calls."""
    document = _load("openapi.json")
    document["servers"] = [{"url": settings.root_path or "/"}]
    for path in document["paths"].values():
        operation = path["get"]
        for parameter in operation.get("parameters", ()):
            _limit(parameter["schema"], settings)
        if settings.auth is AuthMode.NONE and operation.pop("security", None):
            operation["responses"].pop("401")
            operation["responses"].pop("403", None)
    if settings.auth is AuthMode.NONE:
        del document["components"]["securitySchemes"]
    return document


def asyncapi(settings: GatewaySettings) -> Node:
    """Return the AsyncAPI document, which describes the streams.

    It has no servers, because these depend on the request; see `servers`.
    """
    document = _load("asyncapi.json")
    for part in (*document["channels"].values(), *document["operations"].values()):
        for binding in part.get("bindings", {}).values():
            for schema in binding["query"]["properties"].values():
                _limit(schema, settings)
            if settings.auth is AuthMode.NONE and "headers" in binding:
                binding["headers"] = {"type": "object"}
        if "{max_client_message}" in part.get("description", ""):
            part["description"] = part["description"].format(
                max_client_message=settings.max_client_message, client_rate=settings.client_rate
            )
    if settings.auth is AuthMode.NONE:
        del document["components"]["securitySchemes"]
    return document


def servers(settings: GatewaySettings, base_url: BaseUrl) -> Node:
    """Return the servers of the AsyncAPI document, with their security schemes.

    Args:
        settings: the settings of the gateway.
        base_url: the address at which the client reaches the gateway.
    """
    suffix = "s" if base_url.secure else ""
    websocket: Node = {"host": base_url.host, "protocol": "ws" + suffix, "description": "WebSocket"}
    events: Node = {
        "host": base_url.host,
        "protocol": "http" + suffix,
        "description": "Server-sent events",
    }
    if base_url.pathname:
        websocket["pathname"] = events["pathname"] = base_url.pathname
    if settings.auth is AuthMode.JWT:
        websocket["security"] = _references("bearer", "subprotocol", "query")
        events["security"] = _references("bearer", "query")
    return {"websocket": websocket, "events": events}


def _references(*schemes: str) -> list[Node]:
    return [{"$ref": f"#/components/securitySchemes/{scheme}"} for scheme in schemes]


def _load(name: str) -> Node:
    text = files("ime_live.gateway.api_docs").joinpath(name).read_bytes()
    document: Node = msgspec.json.decode(text)
    document["info"]["version"] = _VERSION
    return document


def _limit(schema: Node, settings: GatewaySettings) -> None:
    """Set the limit of contracts in the schema of a parameter that has one."""
    if "maxItems" in schema:
        schema["maxItems"] = settings.max_contracts
