"""The OpenAPI document as it is built: where its descriptions come from."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import Struct

from docgen.api_documents.openapi import OVERVIEWS, document
from docgen.api_documents.schemas import attributes_of
from ime_live.contracts import Contract
from ime_live.gateway.rest.static_data import TYPES
from ime_live.market import SECTIONS


@pytest.mark.parametrize("kind", [*TYPES.values(), *OVERVIEWS.values()], ids=lambda k: k.__name__)
def test_static_fields_are_described_by_docstring_of_contract(kind: type[Struct]) -> None:
    said = attributes_of(Contract)
    properties = document()["components"]["schemas"][kind.__name__]["properties"]
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
