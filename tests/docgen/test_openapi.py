"""The OpenAPI document as it is built: where its descriptions come from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from jsonschema_rs import Draft202012Validator
from msgspec import Struct

from docgen.api_documents.asyncapi import document as asyncapi
from docgen.api_documents.openapi import document, operation_id
from docgen.api_documents.rest_schemas import OVERVIEWS
from docgen.api_documents.schemas import attributes_of
from ime_live.contracts import Contract
from ime_live.gateway.rest.static_data import TYPES
from ime_live.market import SECTIONS
from tests.support.rows import each_row


@pytest.fixture(scope="module")
def built() -> Any:  # noqa: ANN401 - JSON
    """The document."""
    return document()


@pytest.mark.parametrize("kind", [*TYPES.values(), *OVERVIEWS.values()], ids=lambda k: k.__name__)
def test_static_fields_are_described_by_docstring_of_contract(
    built: Any,  # noqa: ANN401
    kind: type[Struct],
) -> None:
    said = attributes_of(Contract)
    properties = built["components"]["schemas"][kind.__name__]["properties"]
    for each in msgspec.structs.fields(kind):
        if each.encode_name not in SECTIONS:
            description = properties[each.encode_name]["description"]
            assert description == said.get(each.name, description)
    own = {each.name for each in msgspec.structs.fields(kind) if each.encode_name not in SECTIONS}
    assert own - said.keys() <= {"days_to_expiration"}


def test_every_field_of_contract_is_described() -> None:
    assert attributes_of(Contract).keys() == {
        each.name for each in msgspec.structs.fields(Contract)
    }


def test_every_call_has_a_name_of_its_own_for_generated_clients(built: Any) -> None:  # noqa: ANN401
    names = [path["get"]["operationId"] for path in built["paths"].values()]
    assert len(set(names)) == len(names)
    assert [name for name in names if not re.fullmatch(r"[a-z]+([A-Z][a-z]+)+", name)] == []


@each_row(
    ("path", "name"),
    [
        ("/live/data/allowed-price-range/contract/id", "getAllowedPriceRangeById"),
        ("/static/data/contract/name", "getStaticDataByName"),
        ("/static/data/contract/search", "searchContracts"),
        ("/live/status", "getStatus"),
        ("/health", "getHealth"),
    ],
)
def test_name_of_a_call_follows_from_its_path(path: str, name: str) -> None:
    assert operation_id(path) == name


def test_every_call_has_an_example_of_its_response(built: Any) -> None:  # noqa: ANN401
    assert len(built["paths"]) > 20
    for path, item in built["paths"].items():
        (described,) = item["get"]["responses"]["200"]["content"].values()
        schema = described["schema"] | {"components": built["components"]}
        Draft202012Validator(schema, validate_formats=True).validate(described["example"])
        assert "…" not in str(described["example"]), f"{path}: give it a value in rest_examples.py"


def undescribed(node: Any, path: str = "") -> Iterator[str]:  # noqa: ANN401 - any part of a document
    """The properties and parameters without a description."""
    if isinstance(node, list):
        for each in node:
            yield from undescribed(each, path)
    elif isinstance(node, dict):
        if isinstance(node.get("properties"), dict):
            for name, each in node["properties"].items():
                if not each.get("description"):
                    yield f"{path}/{name}"
        if {"name", "in", "schema"} <= node.keys() and not node.get("description"):
            yield f"{path}/{node['name']}"
        for key, each in node.items():
            if key not in {"example", "examples"}:
                yield from undescribed(each, f"{path}/{key}")


@pytest.mark.parametrize("build", [document, asyncapi], ids=["openapi", "asyncapi"])
def test_every_field_of_the_documents_is_described(build: Callable[[], Any]) -> None:
    assert list(undescribed(build())) == []
    broken = {"a": {"properties": {"b": {"type": "string"}}}}
    assert list(undescribed(broken)) == ["/a/b"]
