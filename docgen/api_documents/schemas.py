"""Generate JSON Schemas from the types of messages and responses.

The descriptions come from the docstrings' attributes. The schemas fit any document. No I/O.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Final

import msgspec
from msgspec import Struct

from ime_live.gateway.query.value_types import Schema

_ATTRIBUTES: Final = re.compile(r"\n\nAttributes:\n(.*?)(?:\n\n|\Z)", re.DOTALL)
_ATTRIBUTE: Final = re.compile(r"^    (\w+): (.*(?:\n     .*)*)", re.MULTILINE)


def schemas_of(types: Iterable[type], template: str) -> dict[str, Schema]:
    """Return the schemas of these types and of all types that they use, by name.

    Args:
        types: structs.
        template: form of a reference to a schema, with ``{name}`` in it.
    """
    types = list(types)
    _, components = msgspec.json.schema_components(types, ref_template=template)
    classes = _classes_in(types)
    return {
        name: _described(_tidied(schema), classes[name], template)
        for name, schema in components.items()
    }


def description_of(documented: object) -> str:
    """Return a docstring for readers who do not write Python, without its attributes."""
    return _for_readers(_ATTRIBUTES.sub("", inspect.getdoc(documented) or ""))


def _described(schema: Schema, documented: type, template: str) -> Schema:
    described = {k: v for k, v in schema.items() if k != "title"}
    described["description"] = description_of(documented)
    if issubclass(documented, Enum):
        # In the order of their definition; msgspec sorts them.
        described["enum"] = [member.value for member in documented]
        described["type"] = "string"
    elif issubclass(documented, Struct):
        described["properties"] = dict(described["properties"])
        tag = documented.__struct_config__.tag_field
        if tag in described["properties"]:
            described["properties"][tag] |= {"description": "kind of the message."}
        descriptions = attributes_of(documented)
        for attribute in msgspec.structs.fields(documented):
            if text := descriptions.get(attribute.name):
                properties = described["properties"]
                properties[attribute.encode_name] = with_description(
                    properties[attribute.encode_name], text
                )
        if not described.get("required"):
            described.pop("required", None)
    return described


def with_description(schema: Schema, text: str) -> Schema:
    """Return a schema, or a reference to one, with a description.

    In draft 7 everything beside a reference is ignored, so the reference goes one level down.
    """
    if "$ref" in schema:
        schema = {"allOf": [schema]}
    return schema | {"description": text}


def attributes_of(documented: type) -> Mapping[str, str]:
    """Return the descriptions of a class's attributes, by name, from its docstring."""
    block = _ATTRIBUTES.search(inspect.getdoc(documented) or "")
    if block is None:
        return {}
    return {name: _for_readers(text) for name, text in _ATTRIBUTE.findall(block[1])}


def _for_readers(text: str) -> str:
    """Join lines to paragraphs, and write Python's None as in JSON."""
    paragraphs = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    return re.sub(r"\bNone\b", "`null`", "\n\n".join(paragraphs)).replace("``", "`")


def _tidied(schema: Any) -> Any:  # noqa: ANN401 - any part of a schema
    """Simplify a schema: numbers and nullable values without ``anyOf``."""
    if isinstance(schema, list):
        return [_tidied(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    tidy = {key: _tidied(value) for key, value in schema.items()}
    choice = tidy.get("anyOf")
    if choice is not None and all(set(alternative) == {"type"} for alternative in choice):
        del tidy["anyOf"]
        types = [alternative["type"] for alternative in choice]
        if "number" in types:
            types = [name for name in types if name != "integer"]
        tidy["type"] = types[0] if len(types) == 1 else types
    return tidy


def _classes_in(types: Iterable[type]) -> dict[str, type]:
    """Return the structs and enumerations that occur in ``types``, by name."""
    classes: dict[str, type] = {}

    def walk(info: object) -> None:
        if isinstance(info, msgspec.inspect.Field):
            walk(info.type)
        elif isinstance(info, msgspec.inspect.Type):
            documented = getattr(info, "cls", None)
            if isinstance(documented, type):
                if classes.get(documented.__name__) is documented:
                    return
                classes[documented.__name__] = documented
            for name in info.__struct_fields__:
                walk(getattr(info, name))
        elif isinstance(info, tuple | list):
            for item in info:
                walk(item)

    walk(msgspec.inspect.multi_type_info(types))
    return classes
