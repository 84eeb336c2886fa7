"""Schemas: what types and docstrings say, in the words of JSON Schema."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
import pytest
from jsonschema_rs import Draft7Validator
from msgspec import UNSET, Struct, UnsetType, field

from docgen.api_documents.schemas import description_of, schemas_of, with_description

Schemas = dict[str, dict[str, Any]]


class Colour(StrEnum):
    """The colour of a thing."""

    RED = "red"
    BLUE = "blue"


class Inner(Struct):
    """Something small."""

    size: int | float


class Outer(Struct):
    """Something large.

    It goes over
    two lines.

    Attributes:
        first_name: how it is called; None if
            nobody knows.
        inner: what is in it, see ``size``.
    """

    first_name: str | None = field(name="firstName")
    inner: Inner
    colour: Colour | None
    gone: int | UnsetType = UNSET


@pytest.fixture
def schemas() -> Schemas:
    return schemas_of([Outer], "#/defs/{name}")


def test_schemas_include_every_nested_type(schemas: Schemas) -> None:
    assert set(schemas) == {"Outer", "Inner", "Colour"}


def test_attributes_become_descriptions_of_properties(
    schemas: Schemas,
) -> None:
    properties = schemas["Outer"]["properties"]
    assert properties["firstName"] == {
        "type": ["string", "null"],
        "description": "how it is called; `null` if nobody knows.",
    }
    assert properties["inner"] == {
        "allOf": [{"$ref": "#/defs/Inner"}],
        "description": "what is in it, see `size`.",
    }
    assert schemas["Outer"]["description"] == "Something large.\n\nIt goes over two lines."
    assert schemas["Outer"]["required"] == ["firstName", "inner", "colour"]


def test_schema_of_a_number_is_number(schemas: Schemas) -> None:
    assert schemas["Inner"]["properties"]["size"] == {"type": "number"}


def test_values_stand_in_their_own_order(schemas: Schemas) -> None:
    assert schemas["Colour"] == {
        "description": "The colour of a thing.",
        "enum": ["red", "blue"],
        "type": "string",
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"firstName": "a", "inner": {"size": 1}},
        {"firstName": 1, "inner": {"size": 1}, "colour": None},
        {"firstName": None, "inner": {"size": "1"}, "colour": None},
        {"firstName": None, "inner": {"size": 1}, "colour": "green"},
        {"firstName": None, "inner": {"size": 1}, "colour": "red", "gone": None},
    ],
)
def test_schema_accepts_the_values_of_its_type(schemas: Schemas, wrong: dict[str, object]) -> None:
    valid = Draft7Validator({"$ref": "#/defs/Outer", "defs": schemas})
    right = Outer("a", Inner(1.5), Colour.RED, gone=3)
    assert valid.is_valid(msgspec.to_builtins(right))
    assert not valid.is_valid(wrong)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, Outer)


def test_reference_keeps_its_description() -> None:
    assert with_description({"type": "string"}, "x") == {"type": "string", "description": "x"}
    assert with_description({"$ref": "#/a"}, "x") == {
        "allOf": [{"$ref": "#/a"}],
        "description": "x",
    }


def test_description_has_no_attributes() -> None:
    assert description_of(Outer) == "Something large.\n\nIt goes over two lines."
