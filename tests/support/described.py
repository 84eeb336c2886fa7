"""Validators of an AsyncAPI document's schemas, which take nothing that is not described."""

from __future__ import annotations

from typing import Any

from jsonschema_rs import Draft7Validator

Node = dict[str, Any]


def closed(schema: Any) -> Any:  # noqa: ANN401 - any part of a schema
    """The same schema, but a key that it does not name is an error.

    Clients are told to ignore such keys; of our own messages each must be described.
    """
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        made.setdefault("additionalProperties", False)
    return made


def validator(document: Node, message: str) -> Draft7Validator:
    """A validator of the messages that the document has under that name."""
    payload = document["components"]["messages"][message]["payload"]
    schemas = closed(document["components"]["schemas"])
    return Draft7Validator(payload | {"components": {"schemas": schemas}})


def follow(document: Node, reference: str) -> Any:  # noqa: ANN401 - any part of a document
    """The part of the document that a reference leads to."""
    assert reference.startswith("#/"), reference
    node: Any = document
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def references(node: Any) -> list[str]:  # noqa: ANN401 - any part of a document
    """All references in a document."""
    if isinstance(node, list):
        return [found for each in node for found in references(each)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
    return own + [found for each in node.values() for found in references(each)]
