"""Generate the AsyncAPI 3.0 document, which describes the streams. No I/O.

It comes from the types of the messages and the parameters of the streams. As AsyncAPI requires, it
takes the gateway's view: a client receives the messages that the gateway *sends*.
"""

from __future__ import annotations

from typing import Any, Final

from docgen.api_documents.examples import SPECIMENS
from docgen.api_documents.schemas import schemas_of
from ime_live.errors import CloseCode
from ime_live.gateway.auth.authenticator import SUBPROTOCOL
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.query.parameters import Endpoint, parameters_of
from ime_live.gateway.query.stream_query import EVENTS_ROOT, STREAM_ROOT
from ime_live.gateway.query.value_types import Names, Schema
from ime_live.messages import ControlMessage, ControlRequest, StatusMessage, StreamMessage
from ime_live.settings import GatewaySettings

Node = dict[str, Any]
"""A part of the document."""

ALIAS: Final = "x-alias-of"
"""Key of a parameter that is only another spelling: the parameter that it means."""

_ENDPOINTS: Final = {By.NAME: Endpoint.STREAM_BY_NAME, By.ID: Endpoint.STREAM_BY_ID}

_SCHEMA: Final = "#/components/schemas/{name}"

CLOSES: Final[dict[CloseCode, str]] = {
    CloseCode.NORMAL: "Your client closed the connection.",
    CloseCode.GOING_AWAY: "The gateway is restarting: reconnect.",
    CloseCode.PROTOCOL_ERROR: "Your client broke the WebSocket protocol.",
    CloseCode.INVALID_DATA: "Your client sent text that is not UTF-8.",
    CloseCode.POLICY_VIOLATION: (
        "The token, a contract or a parameter is missing or wrong, or your client sends too many "
        "messages: the reason says which. Do not repeat the same request."
    ),
    CloseCode.MESSAGE_TOO_BIG: "Your client sent a message that is too long.",
    CloseCode.INTERNAL_ERROR: (
        "Your client did not answer a ping, or the gateway failed: reconnect."
    ),
    CloseCode.TRY_AGAIN_LATER: (
        "Your client was too slow, or contracts or keys are not loaded yet: reconnect after a "
        "while."
    ),
}
"""Advice for a client whose stream ends with a code."""


def document() -> Node:
    """Return the document, as for a server with tokens.

    `ime_live.gateway.api_docs.documents` fits it to a server: its `servers` are empty, its version
    is 0, the limits are the defaults, and the names of settings in braces stand for their values.
    """
    channels = {
        **{_websocket(by): _websocket_channel(by) for by in By},
        **{_events(by): _events_channel(by) for by in By},
    }
    operations: Node = {}
    for by in By:
        operations |= _websocket_operations(by) | _events_operations(by)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "ime-live: streams",
            "version": "0",
            "description": _INTRODUCTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {},
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": _messages(),
            "schemas": _schemas(),
            "securitySchemes": _SECURITY,
        },
    }


_INTRODUCTION: Final = """\
Live market data of the Iran Mercantile Exchange. Whenever a contract has changed, the gateway sends
its complete state, or the requested sections of it. It does not send an equal state again.

The operations are named from the gateway's view: a client receives the messages of `send`, and may
send those of `receive`. Each message names its `channel`. Ignore keys that you do not know, because
new ones may be added.
"""


def _websocket(by: By) -> str:
    return f"websocketBy{by.value.capitalize()}"


def _events(by: By) -> str:
    return f"eventsBy{by.value.capitalize()}"


def _stream(by: By) -> str:
    return f"streamBy{by.value.capitalize()}"


def _of_channel(channel: str, *names: str) -> list[Node]:
    return [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names]


def _channel(server: str, address: str, title: str, text: str, *messages: str) -> Node:
    return {
        "address": address,
        "title": title,
        "description": text,
        "servers": [{"$ref": f"#/servers/{server}"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "x-close-codes": [
            {"code": code.value, "name": code.name, "description": text}
            for code, text in CLOSES.items()
        ],
    }


def _websocket_channel(by: By) -> Node:
    channel = _channel(
        "websocket",
        STREAM_ROOT + by.value,
        f"WebSocket, contracts by {by.value}",
        (
            "One text message per change. A refused request is answered by a completed handshake "
            "and a close frame, because only then a browser shows code and reason."
        ),
        # Contracts may be added by name and by id on either connection.
        _stream(by),
        *(_stream(other) for other in By if other is not by),
        "status",
        "control",
        "controlRequest",
    )
    channel["bindings"] = {
        "ws": {
            "method": "GET",
            "query": query_of(_ENDPOINTS[by]),
            "headers": _HEADERS,
            "bindingVersion": "0.1.0",
        }
    }
    return channel


def _websocket_operations(by: By) -> Node:
    channel, reference = _websocket(by), {"$ref": f"#/channels/{_websocket(by)}"}
    streams = [_stream(by), *(_stream(other) for other in By if other is not by)]
    return {
        f"send{_capital(channel)}": {
            "action": "send",
            "channel": reference,
            "title": "Messages from the gateway",
            "summary": _CHANGES,
            "messages": _of_channel(channel, *streams, "status"),
        },
        f"receive{_capital(channel)}": {
            "action": "receive",
            "channel": reference,
            "title": "Commands to the gateway",
            "summary": "Add or remove contracts while the stream is open.",
            "description": (
                "At most {max_client_message} bytes per message, and {client_rate:g} messages per "
                "second; five times as many at once. "
                "A message that is not a JSON object with an `action` is ignored."
            ),
            "messages": _of_channel(channel, "controlRequest"),
            "reply": {"channel": reference, "messages": _of_channel(channel, "control")},
        },
    }


def _events_channel(by: By) -> Node:
    return _channel(
        "events",
        EVENTS_ROOT + by.value,
        f"Server-sent events, contracts by {by.value}",
        (
            "The same messages as `text/event-stream`: each in `data:`, with its `timestamp` in "
            "`id:`. `Last-Event-ID` has the meaning of `since`. A refused request is answered by "
            'an HTTP status with `{"detail": "…"}`; later the event `end` has the reason.'
        ),
        _stream(by),
        "status",
        "end",
    )


def _events_operations(by: By) -> Node:
    channel = _events(by)
    return {
        f"send{_capital(channel)}": {
            "action": "send",
            "channel": {"$ref": f"#/channels/{channel}"},
            "title": "Messages from the gateway",
            "summary": _CHANGES,
            "messages": _of_channel(channel, _stream(by), "status", "end"),
            "bindings": {
                "http": {
                    "method": "GET",
                    "query": query_of(_ENDPOINTS[by]),
                    "bindingVersion": "0.3.0",
                }
            },
        }
    }


def query_of(endpoint: Endpoint) -> Schema:
    """Return the schema of a stream's query, as that of an object.

    A parameter with several values occurs in the query once per value.
    """
    properties: Schema = {}
    required: list[Schema] = []
    for parameter in parameters_of(endpoint).values():
        schema = parameter.schema()
        if isinstance(parameter.type, Names) and parameter.type.limited:
            schema["maxItems"] = GatewaySettings.max_contracts
        properties[parameter.name] = schema | {"description": parameter.description}
        for alias in parameter.aliases:
            properties[alias] = schema | {
                "description": f"Another spelling of `{parameter.name}`.",
                ALIAS: parameter.name,
            }
        if parameter.missing:
            required += [
                {"required": [name]}
                for name in (parameter.name, *parameter.aliases, *parameter.instead)
            ]
    return {"type": "object", "properties": properties, "anyOf": required}


_CHANGES: Final = (
    "The state of a contract whenever it changes; with `status=true`, that of the feed."
)


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]


def _messages() -> Node:
    messages: Node = {}
    for name, (title, schema) in _MESSAGES.items():
        messages[name] = {
            "name": name,
            "title": title,
            "contentType": "application/json",
            "payload": {"$ref": _SCHEMA.format(name=schema)},
        }
        if examples := SPECIMENS.get(name):
            messages[name]["examples"] = [{"payload": payload} for payload in examples]
    messages["end"]["examples"] = [
        {"payload": {"code": int(CloseCode.POLICY_VIOLATION), "reason": "token expired"}}
    ]
    return messages


# Kind of message → its title, and the name of its schema.
_MESSAGES: Final = {
    "streamByName": ("The state of a contract, by name", "StreamMessageByName"),
    "streamById": ("The state of a contract, by id", "StreamMessageById"),
    "status": ("The state of the feed", "StatusMessage"),
    "control": ("The answer to a command", "ControlMessage"),
    "controlRequest": ("A command", "ControlRequest"),
    "end": ("The end of a stream of events", "End"),
}


def _schemas() -> dict[str, Schema]:
    schemas = schemas_of([StreamMessage, StatusMessage, ControlRequest, ControlMessage], _SCHEMA)
    # A message names its contract in exactly one of the two ways.
    both = schemas.pop("StreamMessage")
    schemas["StreamMessageByName"] = _without(both, "ContractId", "contractName")
    schemas["StreamMessageById"] = _without(both, "contractName", "ContractId")
    schemas["PayloadSections"]["minProperties"] = 1
    schemas["End"] = {
        "description": "Reason why the gateway ended a stream of events.",
        "type": "object",
        "properties": {
            "code": {
                "type": "integer",
                "enum": [code.value for code in CloseCode],
                "description": "close code, as that of a WebSocket.",
            },
            "reason": {"type": "string", "description": "close reason."},
        },
        "required": ["code", "reason"],
    }
    return schemas


def _without(schema: Schema, absent: str, present: str) -> Schema:
    """Return the schema of a message that has ``present`` and not ``absent``."""
    properties = {name: value for name, value in schema["properties"].items() if name != absent}
    return schema | {
        "properties": properties,
        "required": [name for name in properties if name in {present, *schema["required"]}],
        "not": {"required": [absent]},
    }


_SECURITY: Final[Node] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "`Authorization: Bearer <token>`, or the token alone.",
    },
    "subprotocol": {
        "type": "httpApiKey",
        "in": "header",
        "name": "Sec-WebSocket-Protocol",
        "description": (
            f"`{SUBPROTOCOL}, token.<token>`, for browsers: "
            f'`new WebSocket(url, ["{SUBPROTOCOL}", "token." + token])`.'
        ),
    },
    "query": {
        "type": "httpApiKey",
        "in": "query",
        "name": "token",
        "description": "`?token=<token>`. Proxies log query strings, so prefer a header.",
    },
}

_HEADERS: Final[Schema] = {
    "type": "object",
    "properties": {
        "Authorization": {"type": "string", "description": _SECURITY["bearer"]["description"]},
        "Sec-WebSocket-Protocol": {
            "type": "string",
            "description": _SECURITY["subprotocol"]["description"],
        },
    },
}
