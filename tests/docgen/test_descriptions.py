"""The texts of the API documents: plain sentences, as those of the written documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from docgen.api_documents import asyncapi, openapi
from docgen.generate import contract_schema, update_schema
from tests.support.rows import each_row
from tests.test_documents import NOT_PLAIN

DOCUMENTS: dict[str, Callable[[], object]] = {
    "openapi": openapi.document,
    "asyncapi": asyncapi.document,
    "contract": contract_schema,
    "update": update_schema,
}


def texts(node: Any) -> Iterator[str]:  # noqa: ANN401 - any part of a document
    if isinstance(node, list):
        for each in node:
            yield from texts(each)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in {"description", "summary", "title"} and isinstance(value, str):
                yield value
            elif key not in {"example", "examples"}:
                yield from texts(value)


@each_row("name", DOCUMENTS)
def test_sentences_of_document_have_a_subject_that_is_named(name: str) -> None:
    found = list(texts(DOCUMENTS[name]()))
    assert len(found) > 10
    assert [text for text in found if NOT_PLAIN.search(text)] == []
